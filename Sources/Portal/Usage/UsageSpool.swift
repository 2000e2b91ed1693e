import Foundation
import Glibc

/// The folder of this process's counters, among those of others that share the disk or came before.
///
/// Each process has a folder of its own under the spool's, named by its source and locked as long as it lives. What is
/// not locked was left by one that is dead, and may be adopted. Everything here blocks.
final class UsageSpool: Sendable {
  fileprivate static let suffix = ".counters"
  /// What could not be read, or is a copy, gets this, and is not looked at again.
  fileprivate static let asideSuffix = ".aside"

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

  func makeExtent(number: Int, slotsPerShard: Int) throws(UsageExtent.Failure) -> UsageExtent {
    try .make(at: "\(folder.path)/\(number)\(Self.suffix)", sourceID, number: number, slotsPerShard: slotsPerShard)
  }

  /// Removes the folder, if nothing is left in it.
  func close() { folder.removeIfEmpty() }

  // MARK: Adoption

  /// What a dead process left. Nobody else can adopt it as long as this lives.
  struct Orphan: Sendable {
    /// In the order of their numbers.
    let extents: [UsageExtent]
    /// Why files were set aside.
    let setAside: [String]
    let sourceID: UUID
    fileprivate let folder: FolderLock

    fileprivate init(_ folder: FolderLock, of sourceID: UUID) {
      self.folder = folder
      self.sourceID = sourceID
      var (extents, setAside): ([UsageExtent], [String]) = ([], [])
      for path in folder.filePaths where path.hasSuffix(UsageSpool.suffix) {
        do throws(UsageExtent.Failure) {
          if let extent = try UsageExtent.open(leftAt: path) { extents.append(extent) } else { unlink(path) }
        } catch {
          setAside.append(error.description)
          rename(path, path + UsageSpool.asideSuffix)
        }
      }
      self.extents = extents.sorted { $0.number < $1.number }
      self.setAside = setAside
    }

    func close() { folder.removeIfEmpty() }
  }

  func adopt() -> [Orphan] {
    let names = (try? FileManager.default.contentsOfDirectory(atPath: root)) ?? []
    return names.sorted().compactMap { name in
      guard name != sourceID.text, let id = UUID(uuidString: name) else { return nil }
      return FolderLock(root + "/" + name).map { Orphan($0, of: id) }
    }
  }
}

/// The lock of a folder, held by the process until this goes, or the process does.
private final class FolderLock: Sendable {
  let path: String
  private let descriptor: Int32

  private static func lockPath(_ folder: String) -> String { folder + "/lock" }

  /// Nil where it cannot be had, for example because another process holds it. Afterwards the folder is called `path`.
  init?(_ folder: String, renamedTo path: String? = nil) {
    let descriptor = open(Self.lockPath(folder), O_RDWR | O_CREAT | O_CLOEXEC, 0o600)
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
