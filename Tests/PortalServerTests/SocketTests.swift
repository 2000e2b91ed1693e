import Foundation
import PortalAPI
import PortalHTTP
import PortalTesting
import PostgresTesting
import Testing

@Suite("HTTP_SOCKET, with the real binary")
struct SocketTests {
  @Test("the server listens on the socket and on no port, lets its group connect, and removes the socket when it ends")
  func serves() async throws {
    try await withSocket { socket, database in
      try await withServers(1, on: database, environment: ["HTTP_SOCKET": socket]) { servers in
        let server = servers[0]
        let health = try await curl(server.curlOptions + [server.url + "/healthz"])
        #expect(try health.json()["status"].string == "ok")
        // 7: connection refused.
        #expect(try await curl([server.url + "/healthz"]).status == 7)
        #expect(try mode(of: socket) == 0o660)
        #expect(try await server.end() == 0)
        #expect(!FileManager.default.fileExists(atPath: socket))
      }
    }
  }

  @Test("HTTP_SOCKET_MODE sets the permissions of the socket, and OPERATIONS_PORT serves health over TCP")
  func mode() async throws {
    try await withSocket { socket, database in
      let port = try freePort()
      let environment = ["HTTP_SOCKET": socket, "HTTP_SOCKET_MODE": "0600", "OPERATIONS_PORT": "\(port)"]
      try await withServers(1, on: database, environment: environment) { servers in
        try await eventually("it is open") { try mode(of: socket) == 0o600 }
        let health = try await curl(["http://127.0.0.1:\(port)/healthz"])
        #expect(try health.json()["status"].string == "ok")
        let elsewhere = try await curl(
          servers[0].curlOptions + ["-o", "/dev/null", "-w", "%{http_code}", servers[0].url + "/healthz"])
        #expect(elsewhere.output == "404")
      }
    }
  }

  @Test("the client's address is the one that the proxy on the socket names")
  func clientAddress() async throws {
    try await withSocket { socket, database in
      try await withServers(1, on: database, environment: ["HTTP_SOCKET": socket]) { servers in
        let server = servers[0]
        let signup = try await curl(
          server.curlOptions + [
            server.url + "/v1/signup", "-H", "Content-Type: application/json", "-H",
            "X-Forwarded-For: 192.0.2.1, 198.51.100.7", "-d",
            "{\"email\":\"ada@example.com\",\"password\":\"correct horse battery\",\"accountName\":\"Acme\"}",
          ])
        let token = try #require(try signup.json()["token"].string)
        let sessions = try await curl(
          server.curlOptions + [server.url + "/v1/me/sessions", "-H", "Authorization: Bearer \(token)"])
        #expect(sessions.output.contains("\"198.51.100.7\"") && !sessions.output.contains("192.0.2.1"))
      }
    }
  }

  @Test("a socket that a server listens on is left alone, and one that a killed server left is replaced")
  func replacement() async throws {
    try await withSocket { socket, database in
      try await withServers(1, on: database, environment: ["HTTP_SOCKET": socket]) { servers in
        let server = servers[0]
        let second = try await latchkey(
          ["serve", "--http-socket", socket],
          environment: ["DATABASE_URL": database.url, "USAGE_SPOOL": server.log + ".spool"])
        #expect(second.status == 1)
        #expect(second.errors.contains("latchkey: cannot listen on \(socket): another server is listening there"))
        let health = try await curl(server.curlOptions + [server.url + "/healthz"])
        #expect(try health.json()["status"].string == "ok")
        _ = try await server.end(SIGKILL)
        #expect(FileManager.default.fileExists(atPath: socket))
      }
      try await withServers(1, on: database, environment: ["HTTP_SOCKET": socket]) { servers in
        let status = try await servers[0].end()
        #expect(status == 0)
      }
    }
  }

  @Test("a file that is not a socket is left alone")
  func file() async throws {
    try await withSocket { socket, database in
      try Data("kept".utf8).write(to: URL(filePath: socket))
      let result = try await latchkey(
        ["serve"],
        environment: ["DATABASE_URL": database.url, "USAGE_SPOOL": socket + ".spool", "HTTP_SOCKET": socket])
      #expect(result.status == 1)
      #expect(result.errors.contains("latchkey: cannot listen on \(socket): there is a file that is not a socket"))
      #expect(try String(contentsOfFile: socket, encoding: .utf8) == "kept")
    }
  }

  private func mode(of path: String) throws -> Int? {
    try FileManager.default.attributesOfItem(atPath: path)[.posixPermissions] as? Int
  }

  /// Runs `body` with the path of a socket in a folder of its own, and a database.
  private func withSocket(_ body: (String, TestDatabase) async throws -> Void) async throws {
    let folder = "/tmp/latchkey-http-\(UUID().uuidString.prefix(8))"
    try FileManager.default.createDirectory(atPath: folder, withIntermediateDirectories: false)
    defer { try? FileManager.default.removeItem(atPath: folder) }
    try await withDatabase { try await body(folder + "/http.sock", $0) }
  }
}
