import Foundation
import Glibc

/// How a folder stands that a server writes to and makes if need be. Nothing is made or changed.
struct FolderCondition: Sendable {
  /// Why nothing can be written there; nil if it can.
  let problem: String?
  /// For this user, on the file system that it is on, or will be.
  let freeByteCount: Int?
  let isThere: Bool

  /// Blocks.
  init(at path: String) {
    isThere = FileManager.default.fileExists(atPath: path)
    // What is not there is made in the nearest folder that is.
    var nearest = URL(filePath: path).standardizedFileURL
    var isFolder: ObjCBool = false
    while !FileManager.default.fileExists(atPath: nearest.path, isDirectory: &isFolder),
      nearest.pathComponents.count > 1
    {
      nearest.deleteLastPathComponent()
    }
    guard isFolder.boolValue else {
      (problem, freeByteCount) = ("\(nearest.path) is no folder", nil)
      return
    }
    if access(nearest.path, W_OK | X_OK) == 0 {
      problem = nil
    } else {
      let reason = String(cString: strerror(errno))
      problem = isThere ? "\(path) cannot be written: \(reason)" : "\(path) cannot be made: \(nearest.path): \(reason)"
    }
    var status = statvfs()
    freeByteCount =
      statvfs(nearest.path, &status) == 0
      ? Int(clamping: UInt64(status.f_bavail).multipliedReportingOverflow(by: UInt64(status.f_frsize)).partialValue)
      : nil
  }
}
