import Foundation
import Glibc

/// The condition of a folder that a server writes to, and creates if necessary. Nothing is created or changed here.
struct FolderCondition: Sendable {
  /// Why the folder cannot be written to; nil if it can.
  let problem: String?
  /// The bytes free to this user on the file system that the folder is on, or will be on.
  let freeByteCount: Int?
  let isThere: Bool

  /// Blocks.
  init(at path: String) {
    isThere = FileManager.default.fileExists(atPath: path)
    // A missing folder would be created in the nearest one that exists.
    var nearest = URL(filePath: path).standardizedFileURL
    var isFolder: ObjCBool = false
    while !FileManager.default.fileExists(atPath: nearest.path, isDirectory: &isFolder),
      nearest.pathComponents.count > 1
    {
      nearest.deleteLastPathComponent()
    }
    guard isFolder.boolValue else {
      (problem, freeByteCount) = ("\(nearest.path) is not a folder", nil)
      return
    }
    if access(nearest.path, W_OK | X_OK) == 0 {
      problem = nil
    } else {
      let reason = String(cString: strerror(errno))
      problem =
        isThere ? "\(path) cannot be written to: \(reason)" : "\(path) cannot be created: \(nearest.path): \(reason)"
    }
    var status = statvfs()
    freeByteCount =
      statvfs(nearest.path, &status) == 0
      ? Int(clamping: UInt64(status.f_bavail).multipliedReportingOverflow(by: UInt64(status.f_frsize)).partialValue)
      : nil
  }
}
