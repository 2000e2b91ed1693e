import Foundation
import Glibc

/// The folder for the credits files of this process, next to those of other processes that share the disk or have
/// ended. It is named after the holder.
///
/// These folders are not those of counters: files of counters stay locked for a while after they were adopted, and what
/// a dead process holds of a bucket is needed at once. All operations block.
final class CreditSpool: Sendable {
  private static let suffix = ".credits"
  /// Within `USAGE_SPOOL`. Not an id, so that nothing takes it for the folder of a process.
  private static let folderName = "credits"
  private static let orphanCountMax = 16

  private let folder: SpoolFolder
  let holder: UUID

  /// Throws ``SpoolFailure``, or an error of `FileManager`.
  init(spool: String, holder: UUID) throws {
    self.holder = holder
    folder = try SpoolFolder.make(in: Self.root(spool), named: holder)
  }

  private static func root(_ spool: String) -> String { "\(spool)/\(folderName)" }

  func makeExtent(_ number: Int, slotsPerShard: Int) throws(SpoolFailure) -> CreditExtent {
    try .make(
      at: folder.path(ofFile: number, Self.suffix), holder: holder, number: number, slotsPerShard: slotsPerShard)
  }

  /// Removes the folder if no files are left in it.
  func close() { folder.removeIfEmpty() }

  // MARK: Adoption

  /// What a dead process left. No other process can adopt it during the lifetime of this value.
  struct Orphan: Sendable {
    let holder: UUID
    let spendings: [CreditSlots.Spending]
    private let paths: [String]
    private let folder: SpoolFolder

    /// Throws if a file is damaged, a copy or missing, after setting it aside: nothing of the process is adopted then,
    /// because a lease without a slot counts as not spent. Nil if a file was set aside before.
    fileprivate init?(_ folder: SpoolFolder, of holder: UUID) throws(SpoolFailure) {
      if folder.hasAside(CreditSpool.suffix) { return nil }
      var files: [CreditFile] = []
      var expected = 1
      var paths: [String] = []
      for (path, number) in folder.files(CreditSpool.suffix) {
        do throws(SpoolFailure) {
          guard let number else { throw SpoolFailure("\(path) has a name that is not a number") }
          guard number == expected else { throw SpoolFailure("\(path) comes after a file that is missing") }
          expected += 1
          if let file = try CreditFile(at: path, holder: holder, number: number) { files.append(file) }
          paths.append(path)
        } catch {
          if error.kind == .damage { SpoolFolder.setAside(path) }
          throw error
        }
      }
      self.holder = holder
      self.folder = folder
      self.paths = paths
      spendings = CreditFile.spendings(of: files)
    }

    /// Removes the files, once it is known to be committed that they were adopted. The last goes first: if the first
    /// were missing after a crash, the others would count as damaged.
    func remove() {
      for path in paths.reversed() { unlink(path) }
      folder.removeIfEmpty()
    }
  }

  /// Takes over the files of dead processes. Of those that cannot be adopted, `failures` says why.
  static func adopt(in spool: String) -> (orphans: [Orphan], failures: [String]) {
    var (orphans, failures): ([Orphan], [String]) = ([], [])
    for (folder, id) in SpoolFolder.adopt(in: root(spool), atMost: orphanCountMax) {
      do throws(SpoolFailure) {
        if let orphan = try Orphan(folder, of: id) { orphans.append(orphan) }
      } catch {
        failures.append(error.description)
      }
    }
    return (orphans, failures)
  }
}
