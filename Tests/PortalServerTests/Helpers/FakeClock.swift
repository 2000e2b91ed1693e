import Foundation
import PortalTesting
import PostgresTesting

/// A calendar clock for programs that are started with its environment. A test can set it while they run: Debian's
/// libfaketime reads a file each time that a program asks for the time. The monotonic clocks remain the kernel's.
final class FakeClock: Sendable {
  let environment: [String: String]
  private let file: String

  init(aheadSeconds: Int = 0) throws {
    let folders = try FileManager.default.contentsOfDirectory(atPath: "/usr/lib").map { "/usr/lib/\($0)/faketime" }
    guard
      let library = folders.map({ $0 + "/libfaketimeMT.so.1" }).first(where: FileManager.default.fileExists(atPath:))
    else { throw TestSetupError(description: "libfaketime is not installed: scripts/install-dependencies --clocks") }
    file = "/tmp/latchkey-clock-\(UUID().uuidString.prefix(8))"
    environment = [
      "LD_PRELOAD": library, "DONT_FAKE_MONOTONIC": "1", "FAKETIME_DONT_FAKE_MONOTONIC": "1",
      "FAKETIME_TIMESTAMP_FILE": file, "FAKETIME_NO_CACHE": "1",
    ]
    try set(aheadSeconds: aheadSeconds)
  }

  deinit { try? FileManager.default.removeItem(atPath: file) }

  /// Removes what the library leaves behind of a program that has ended.
  static func removeLeftovers(of processID: Int32) {
    for name in ["faketime_shm_\(processID)", "sem.faketime_sem_\(processID)"] {
      try? FileManager.default.removeItem(atPath: "/dev/shm/" + name)
    }
  }

  func set(aheadSeconds: Int) throws {
    try Data(String(format: "%+d\n", aheadSeconds).utf8).write(to: URL(filePath: file), options: .atomic)
    // PostgreSQL runs as another user.
    try FileManager.default.setAttributes([.posixPermissions: 0o644], ofItemAtPath: file)
  }
}
