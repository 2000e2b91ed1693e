import Foundation
import PortalHTTP
import PostgresTesting
import Testing

@Suite("The file of a Unix socket")
struct SocketFileTests {
  @Test("the path has at most 107 bytes")
  func length() {
    #expect(SocketFile(path: "/" + String(repeating: "a", count: 106)) != nil)
    for path in ["", "/" + String(repeating: "a", count: 107), "/" + String(repeating: "é", count: 54), "/a\u{0}b"] {
      #expect(SocketFile(path: path) == nil, "\(path)")
    }
  }

  @Test("the path is free if there is no file, or a socket on which no server listens any more")
  func free() throws {
    try withFile { file in
      try file.expectFree()
      close(try unixListener(at: file.path))
      #expect(FileManager.default.fileExists(atPath: file.path))
      try file.expectFree()
    }
  }

  @Test("the path is not free if a server listens there, even one that accepts no connections")
  func inUse() throws {
    try withFile { file in
      let listener = try unixListener(at: file.path)
      defer { close(listener) }
      // Far more than the backlog of a listener that accepts none.
      for _ in 0..<200 { expectRefusal(file, "another server is listening there") }
    }
  }

  @Test("the path is not free if there is another file, or if it cannot be checked")
  func somethingElse() throws {
    try withFile { file in
      try Data("kept".utf8).write(to: URL(filePath: file.path))
      expectRefusal(file, "there is a file that is not a socket")
      let below = try #require(SocketFile(path: file.path + "/socket"))
      expectRefusal(below, "Not a directory")
      try FileManager.default.removeItem(atPath: file.path)
      try FileManager.default.createDirectory(atPath: file.path, withIntermediateDirectories: false)
      expectRefusal(file, "there is a file that is not a socket")
    }
  }

  @Test("the file is opened to the users that its mode allows")
  func mode() throws {
    try withFile(mode: 0o606) { file in
      close(try unixListener(at: file.path))
      try file.open()
      let attributes = try FileManager.default.attributesOfItem(atPath: file.path)
      #expect(attributes[.posixPermissions] as? Int == 0o606)
    }
  }

  private func expectRefusal(_ file: SocketFile, _ reason: String) {
    let refusal = #expect(throws: SocketFile.Refusal.self) { try file.expectFree() }
    #expect(refusal?.description == "cannot listen on \(file.path): \(reason)")
  }

  private func withFile(mode: Int = SocketFile.modeStandard, _ body: (SocketFile) throws -> Void) throws {
    let folder = "/tmp/latchkey-socket-\(UUID().uuidString.prefix(8))"
    try FileManager.default.createDirectory(atPath: folder, withIntermediateDirectories: false)
    defer { try? FileManager.default.removeItem(atPath: folder) }
    let file = try #require(SocketFile(path: folder + "/http.sock", mode: mode))
    try body(file)
  }
}
