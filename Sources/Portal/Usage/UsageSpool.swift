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
  private let folder: FolderLock

  /// Creates the folder, and that of the spool if needed. Throws ``UsageExtent/Failure``, or an error of `FileManager`.
  init(root: String, sourceID: UUID = .version7()) throws {
    self.root = root
    self.sourceID = sourceID
    try FileManager.default.createDirectory(
      atPath: root, withIntermediateDirectories: true, attributes: [.posixPermissions: 0o700])
    // Lock it before it gets its name, so that no process takes it for the folder of a dead one.
    let (making, made) = ("\(root)/.\(sourceID.text)", "\(root)/\(sourceID.text)")
    guard mkdir(making, 0o700) == 0 else { throw UsageExtent.Failure.last("\(making) cannot be created") }
    guard let folder = FolderLock(making, renamedTo: made) else {
      throw UsageExtent.Failure.last("\(made) cannot be created or locked")
    }
    self.folder = folder
  }

  func makeExtent(_ layout: UsageLayout) throws(UsageExtent.Failure) -> UsageExtent {
    try .make(at: "\(folder.path)/\(layout.number)\(Self.suffix)", layout)
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
    private let folder: FolderLock

    fileprivate init(_ folder: FolderLock, of sourceID: UUID) {
      self.folder = folder
      self.sourceID = sourceID
      let named = folder.filePaths.filter { $0.hasSuffix(UsageSpool.suffix) }.map { ($0, UsageSpool.number(of: $0)) }
      for (path, number) in named.sorted(by: { ($0.1 ?? 0, $0.0) < ($1.1 ?? 0, $1.0) }) {
        do throws(UsageExtent.Failure) {
          guard let number else { throw UsageExtent.Failure("\(path) has a name that is not a number") }
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
    mutating func refuse(_ path: String, _ failure: UsageExtent.Failure) {
      if failure.kind == .damage {
        setAside.append(failure.description)
        UsageFile.setAside(path)
      } else {
        left.append(failure.description)
      }
    }

    /// Removes the first file from the list once it is done.
    mutating func removeFirst() { files.removeFirst() }

    func close() { folder.removeIfEmpty() }
  }

  /// The number in a file's name.
  private static func number(of path: String) -> Int? {
    guard let name = path.split(separator: "/").last?.dropLast(suffix.count), let number = Int(name),
      name == "\(number)", number > 0
    else { return nil }
    return number
  }

  /// Takes over the files of at most `countMax` dead processes. The order is random, because folders with files that
  /// were set aside stay and must not keep others from their turn.
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
  /// The number of entries of a spool that are examined.
  private static let entryCountMax = 100_000

  /// Their paths in `USAGE_SPOOL`, whatever database they belong to. Blocks.
  package static func list(in spool: String) -> [String] {
    guard let names = FileManager.default.enumerator(atPath: spool) else { return [] }
    return names.prefix(entryCountMax).compactMap { $0 as? String }.filter(UsageFile.isAside).map { spool + "/" + $0 }
      .sorted()
  }
}

/// The lock of a folder, held for the lifetime of this object or of the process.
private final class FolderLock: Sendable {
  let path: String
  private let descriptor: Int32

  private static func lockPath(_ folder: String) -> String { folder + "/lock" }

  /// Nil if the lock cannot be taken, for example because another process holds it or `folder` is not a directory.
  /// `path`, if given, is the name of the folder afterwards.
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

  /// Removes the lock file last: while it exists, no other process can take the folder.
  func removeIfEmpty() {
    guard filePaths == [Self.lockPath(path)] else { return }
    unlink(Self.lockPath(path))
    rmdir(path)
  }
}
