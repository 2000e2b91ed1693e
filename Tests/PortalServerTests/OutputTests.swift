import Foundation
import Portal
import Postgres
import Testing

@testable import PortalServer

@Suite("Explanations of failures")
struct OutputTests {
  /// The error that `body` throws.
  private func error(_ body: () throws -> Void) throws -> any Error {
    try #require(throws: (any Error).self, performing: body)
  }

  @Test("a failure of the file system has the path and the system's reason, and is named as such")
  func files() throws {
    let missing = try error { _ = try String(contentsOfFile: "/nowhere/file", encoding: .utf8) }
    #expect(explanation(of: missing) == "file system error: /nowhere/file: No such file or directory")
    let folder = try error { _ = try FileHandle(forWritingTo: URL(filePath: "/nowhere/file")) }
    #expect(explanation(of: folder) == "file system error: /nowhere/file: No such file or directory")
    let full = FileHandle(forWritingAtPath: "/dev/full")
    let unwritten = try error { try full?.write(contentsOf: Data([1])) }
    #expect(explanation(of: unwritten) == "file system error: No space left on device")
    #expect(explanation(of: CocoaError(.fileWriteUnknown)).hasPrefix("file system error: "))
  }

  @Test("a failure of the database is named as such, and others stay as they are")
  func others() {
    #expect(explanation(of: PostgresError(.connectFailed, "no route to host\n")) == "database error: no route to host")
    let hinted = PostgresError(.connectFailed, "port 1 failed: Connection refused\n\tIs the server running?\n")
    #expect(explanation(of: hinted) == "database error: port 1 failed: Connection refused Is the server running?")
    #expect(explanation(of: PostgresError(.migrationMismatch, "0001 has changed")) == "0001 has changed")
    #expect(explanation(of: PortalError.notFound) == "not found")
    #expect(explanation(of: CancellationError()) == "CancellationError()")
  }
}
