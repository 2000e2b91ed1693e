import Foundation
import Glibc

/// The folder of one process in a spool, named after an id and locked for the lifetime of this object or of the
/// process. A folder that is not locked was left by a dead process and may be adopted. All operations block.
final class SpoolFolder: Sendable {
  /// Appended to the name of a file that cannot be used, such as a damaged one or a copy. It is not looked at again.
  private static let asideSuffix = ".aside"

  let path: String
  private let descriptor: Int32

  private static func lockPath(_ folder: String) -> String { folder + "/lock" }

  /// Nil if the lock cannot be taken, for example because another process holds it or `folder` is not a directory.
  /// `path`, if given, is the name of the folder afterwards.
  private init?(_ folder: String, renamedTo path: String? = nil) {
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

  /// Creates a folder named `id`, and `root` if needed. Throws ``SpoolFailure``, or an error of `FileManager`.
  static func make(in root: String, named id: UUID) throws -> SpoolFolder {
    try FileManager.default.createDirectory(
      atPath: root, withIntermediateDirectories: true, attributes: [.posixPermissions: 0o700])
    // Lock it before it gets its name, so that no process takes it for the folder of a dead one.
    let (making, made) = ("\(root)/.\(id.text)", "\(root)/\(id.text)")
    guard mkdir(making, 0o700) == 0 else { throw SpoolFailure.last("\(making) cannot be created") }
    guard let folder = SpoolFolder(making, renamedTo: made) else {
      let failure = SpoolFailure.last("\(made) cannot be created or locked")
      // Otherwise the next attempt would find the folder there.
      unlink(lockPath(making))
      rmdir(making)
      throw failure
    }
    return folder
  }

  /// Takes over the folders of at most `countMax` dead processes. The order is random, because folders with files that
  /// were set aside stay and must not keep others from their turn. No other process can adopt them during the lifetime
  /// of what is returned.
  static func adopt(in root: String, atMost countMax: Int) -> [(folder: SpoolFolder, id: UUID)] {
    let names = (try? FileManager.default.contentsOfDirectory(atPath: root)) ?? []
    var orphans: [(SpoolFolder, UUID)] = []
    for name in names.shuffled() where orphans.count < countMax {
      guard let id = UUID(uuidString: name), id.text == name, let folder = SpoolFolder(root + "/" + name) else {
        continue
      }
      orphans.append((folder, id))
    }
    return orphans
  }

  func path(ofFile number: Int, _ suffix: String) -> String { "\(path)/\(number)\(suffix)" }

  /// The files with this suffix, by number; first those whose names are not numbers.
  func files(_ suffix: String) -> [(path: String, number: Int?)] {
    filePaths.filter { $0.hasSuffix(suffix) }.map { ($0, Self.number(of: $0, suffix)) }
      .sorted { ($0.1 ?? 0, $0.0) < ($1.1 ?? 0, $1.0) }
  }

  /// The number in a file's name.
  private static func number(of path: String, _ suffix: String) -> Int? {
    guard let name = path.split(separator: "/").last?.dropLast(suffix.count), let number = Int(name),
      name == "\(number)", number > 0
    else { return nil }
    return number
  }

  private var filePaths: [String] {
    ((try? FileManager.default.contentsOfDirectory(atPath: path)) ?? []).map { path + "/" + $0 }
  }

  /// Whether a file of this suffix was set aside here.
  func hasAside(_ suffix: String) -> Bool { filePaths.contains { $0.hasSuffix(suffix + Self.asideSuffix) } }

  static func setAside(_ path: String) { rename(path, path + asideSuffix) }

  /// Whether a file's name says that it was set aside.
  static func isAside(_ name: String) -> Bool { name.hasSuffix(asideSuffix) }

  /// Removes the folder if no files are left in it. Removes the lock file last: while it exists, no other process can
  /// take the folder.
  func removeIfEmpty() {
    guard filePaths == [Self.lockPath(path)] else { return }
    unlink(Self.lockPath(path))
    rmdir(path)
  }
}
