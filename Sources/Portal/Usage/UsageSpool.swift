import Foundation
import Glibc

/// The folder for the counter files of this process, next to those of other processes that share the disk or have
/// ended.
///
/// Each process has its own folder in the spool, named after its source ID and locked for the lifetime of the process.
/// A folder that is not locked was left by a dead process and may be adopted. All operations block.
final class UsageSpool: Sendable {
  fileprivate static let suffix = ".counters"
  /// The number of dead processes whose files a server adopts at a time; each takes a file descriptor.
  static let orphanCountMax = 64

  let sourceID: UUID
  private let root: String
  private let folder: SpoolFolder

  /// Creates the folder, and that of the spool if needed. Throws ``SpoolFailure``, or an error of `FileManager`.
  init(root: String, sourceID: UUID = .version7()) throws {
    self.root = root
    self.sourceID = sourceID
    folder = try SpoolFolder.make(in: root, named: sourceID)
  }

  func makeExtent(_ layout: UsageLayout) throws(SpoolFailure) -> UsageExtent {
    try .make(at: folder.path(ofFile: layout.number, Self.suffix), layout)
  }

  /// Removes the folder if no files are left in it.
  func close() { folder.removeIfEmpty() }

  // MARK: Adoption

  /// The files of a dead process. No other process can adopt them during the lifetime of this value.
  struct Orphan: Sendable {
    /// Ordered by number.
    private(set) var files: [UsageFile] = []
    /// Why files were set aside.
    private(set) var setAside: [String] = []
    /// Why files were left in place, to be tried again later.
    private(set) var left: [String] = []
    let sourceID: UUID
    private let folder: SpoolFolder

    fileprivate init(_ folder: SpoolFolder, of sourceID: UUID) {
      self.folder = folder
      self.sourceID = sourceID
      for (path, number) in folder.files(UsageSpool.suffix) {
        do throws(SpoolFailure) {
          guard let number else { throw SpoolFailure("\(path) has a name that is not a number") }
          if let file = try UsageFile(at: path, sourceID: sourceID, number: number) {
            files.append(file)
          } else {
            unlink(path)
          }
        } catch {
          refuse(path, error)
          // Stop here: if later files were written before this one, this one would never count.
          if error.kind == .shortage { break }
        }
      }
    }

    /// Sets a damaged file aside, and leaves any other that cannot be written in place.
    mutating func refuse(_ path: String, _ failure: SpoolFailure) {
      if failure.kind == .damage {
        setAside.append(failure.description)
        SpoolFolder.setAside(path)
      } else {
        left.append(failure.description)
      }
    }

    /// Removes the first file from the list once it is done.
    mutating func removeFirst() { files.removeFirst() }

    func close() { folder.removeIfEmpty() }
  }

  /// Takes over the files of at most `countMax` dead processes.
  func adopt(atMost countMax: Int = orphanCountMax) -> [Orphan] {
    SpoolFolder.adopt(in: root, atMost: countMax).map { folder, id in Orphan(folder, of: id) }
  }
}

/// Files that were set aside.
package enum UsageAside {
  /// The number of entries of a spool that are examined.
  private static let entryCountMax = 100_000

  /// Their paths in `USAGE_SPOOL`, whatever database they belong to. Blocks.
  package static func list(in spool: String) -> [String] {
    guard let names = FileManager.default.enumerator(atPath: spool) else { return [] }
    return names.prefix(entryCountMax).compactMap { $0 as? String }.filter(SpoolFolder.isAside).map { spool + "/" + $0 }
      .sorted()
  }
}
