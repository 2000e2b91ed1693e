import Foundation
import Glibc

/// The folder of this process's counters, among those of others that share the disk or came before.
///
/// Each process has a folder of its own under the spool's, named by its source and locked as long as it lives. What is
/// not locked was left by one that is dead, and may be adopted. Everything here blocks.
final class UsageSpool: Sendable {
  fileprivate static let suffix = ".counters"
  /// Dead processes whose files a server has at a time: each keeps a descriptor.
  static let orphanCountMax = 64

  let sourceID: UUID
  private let root: String
  private let folder: FolderLock

  /// Makes the folders, the spool's too. Throws ``UsageExtent/Failure``.
  init(root: String, sourceID: UUID = .version7()) throws {
    self.root = root
    self.sourceID = sourceID
    try FileManager.default.createDirectory(
      atPath: root, withIntermediateDirectories: true, attributes: [.posixPermissions: 0o700])
    // Locked before it has its name: nobody may take it for that of a dead process.
    let (making, made) = ("\(root)/.\(sourceID.text)", "\(root)/\(sourceID.text)")
    guard mkdir(making, 0o700) == 0 else { throw UsageExtent.Failure.last("\(making) cannot be made") }
    guard let folder = FolderLock(making, renamedTo: made) else {
      throw UsageExtent.Failure.last("\(made) cannot be made or locked")
    }
    self.folder = folder
  }

  func makeExtent(_ layout: UsageLayout) throws(UsageExtent.Failure) -> UsageExtent {
    try .make(at: "\(folder.path)/\(layout.number)\(Self.suffix)", layout)
  }

  /// Removes the folder, if nothing is left in it.
  func close() { folder.removeIfEmpty() }

  // MARK: Adoption

  /// What a dead process left. Nobody else can adopt it as long as this lives.
  struct Orphan: Sendable {
    /// In the order of their numbers.
    private(set) var files: [UsageFile] = []
    /// Why files were set aside.
    private(set) var setAside: [String] = []
    /// Why files were left where they are, to be looked at again.
    private(set) var left: [String] = []
    let sourceID: UUID
    private let folder: FolderLock

    fileprivate init(_ folder: FolderLock, of sourceID: UUID) {
      self.folder = folder
      self.sourceID = sourceID
      let named = folder.filePaths.filter { $0.hasSuffix(UsageSpool.suffix) }.map { ($0, UsageSpool.number(of: $0)) }
      for (path, number) in named.sorted(by: { ($0.1 ?? 0, $0.0) < ($1.1 ?? 0, $1.0) }) {
        do throws(UsageExtent.Failure) {
          guard let number else { throw UsageExtent.Failure("\(path) has no number for a name") }
          if let file = try UsageFile(at: path, sourceID: sourceID, number: number) {
            files.append(file)
          } else {
            unlink(path)
          }
        } catch {
          refuse(path, error)
          // What comes after it would be written before it, and it would never count.
          if error.kind == .shortage { break }
        }
      }
    }

    /// Deals with a file that is not to be written: damaged, it is set aside.
    mutating func refuse(_ path: String, _ failure: UsageExtent.Failure) {
      if failure.kind == .damage {
        setAside.append(failure.description)
        UsageFile.setAside(path)
      } else {
        left.append(failure.description)
      }
    }

    /// The first of the files was dealt with.
    mutating func removeFirst() { files.removeFirst() }

    func close() { folder.removeIfEmpty() }
  }

  /// The number that a file is named by.
  private static func number(of path: String) -> Int? {
    guard let name = path.split(separator: "/").last?.dropLast(suffix.count), let number = Int(name),
      name == "\(number)", number > 0
    else { return nil }
    return number
  }

  /// Takes over what so many dead processes at most have left. Which of them comes first is left to chance, since a
  /// folder with what was set aside stays.
  func adopt(atMost countMax: Int = orphanCountMax) -> [Orphan] {
    let names = (try? FileManager.default.contentsOfDirectory(atPath: root)) ?? []
    var orphans: [Orphan] = []
    for name in names.shuffled() where orphans.count < countMax {
      guard name != sourceID.text, let id = UUID(uuidString: name), id.text == name,
        let folder = FolderLock(root + "/" + name)
      else { continue }
      orphans.append(Orphan(folder, of: id))
    }
    return orphans
  }
}

/// Files that were set aside.
package enum UsageAside {
  /// Entries of a spool that are looked at.
  private static let entryCountMax = 100_000

  /// Their paths in `USAGE_SPOOL`, whatever database they belong to. Blocks.
  package static func list(in spool: String) -> [String] {
    guard let names = FileManager.default.enumerator(atPath: spool) else { return [] }
    return names.prefix(entryCountMax).compactMap { $0 as? String }.filter(UsageFile.isAside).map { spool + "/" + $0 }
      .sorted()
  }
}

/// The lock of a folder, held by the process until this goes, or the process does.
private final class FolderLock: Sendable {
  let path: String
  private let descriptor: Int32

  private static func lockPath(_ folder: String) -> String { folder + "/lock" }

  /// Nil where it cannot be had, for example because another process holds it, or it is no folder of ours. Afterwards
  /// the folder is called `path`.
  init?(_ folder: String, renamedTo path: String? = nil) {
    var status = stat()
    guard lstat(folder, &status) == 0, status.st_mode & S_IFMT == S_IFDIR else { return nil }
    let descriptor = open(Self.lockPath(folder), O_RDWR | O_CREAT | O_NONBLOCK | O_NOFOLLOW | O_CLOEXEC, 0o600)
    guard descriptor >= 0 else { return nil }
    guard flock(descriptor, LOCK_EX | LOCK_NB) == 0, path.map({ rename(folder, $0) == 0 }) ?? true else {
      close(descriptor)
      return nil
    }
    self.descriptor = descriptor
    self.path = path ?? folder
  }

  deinit { close(descriptor) }

  var filePaths: [String] {
    ((try? FileManager.default.contentsOfDirectory(atPath: path)) ?? []).map { path + "/" + $0 }
  }

  /// With the lock last, under which nobody else can come in.
  func removeIfEmpty() {
    guard filePaths == [Self.lockPath(path)] else { return }
    unlink(Self.lockPath(path))
    rmdir(path)
  }
}
