import Foundation
import PortalAPI
import PortalHTTP
import PortalTesting
import Postgres
import PostgresTesting
import Testing

@Suite("latchkey doctor")
struct DoctorTests {
  /// The exit status and what was found, with status and text by the name of the check.
  private struct Diagnosis {
    var exitStatus: Int32
    var status: String?
    var findings: [String: (status: String, text: String)] = [:]

    subscript(_ name: String) -> String? { findings[name]?.status }
    func text(_ name: String) -> String { findings[name]?.text ?? "" }
  }

  private func examine(_ environment: [String: String]) async throws -> Diagnosis {
    let result = try await latchkey(["doctor", "--json"], environment: environment)
    let json = try result.json()
    var diagnosis = Diagnosis(exitStatus: result.status, status: json["status"].string)
    for check in json["checks"].array {
      guard let name = check["name"].string, let status = check["status"].string, let text = check["text"].string
      else { continue }
      diagnosis.findings[name] = (status, text)
    }
    return diagnosis
  }

  private func withFolder(_ body: (String) async throws -> Void) async throws {
    let folder = FileManager.default.temporaryDirectory.appending(path: "latchkey-doctor-\(UUID())")
    try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
    defer { try? FileManager.default.removeItem(at: folder) }
    try await body(folder.path)
  }

  /// 32 bytes that look random.
  private static let secretKey = Data((0..<32).map { UInt8(truncatingIfNeeded: $0 * 37 + 11) }).base64EncodedString()

  @Test("on a healthy system it reports nothing wrong, prints a line for each check, and creates no folder")
  func healthy() async throws {
    try await withDatabase { database in
      try await withFolder { folder in
        let environment = [
          "DATABASE_URL": database.url, "HTTP_PORT": "\(try freePort())", "USAGE_SPOOL": folder + "/spool",
          "SECRET_KEY": Self.secretKey,
        ]
        let diagnosis = try await examine(environment)
        #expect(diagnosis.exitStatus == 0 && diagnosis.status == "ok", "\(diagnosis)")
        let names = [
          "configuration", "database", "roles", "migrations", "access", "clock", "secret key", "descriptors", "spool",
          "mail", "listener",
        ]
        #expect(Set(diagnosis.findings.keys) == Set(names))
        #expect(diagnosis.text("listener").contains("is free"))
        #expect(!FileManager.default.fileExists(atPath: folder + "/spool"))

        let text = try await latchkey(["doctor"], environment: environment)
        #expect(text.status == 0)
        #expect(text.output.split(separator: "\n").map { $0.hasPrefix("ok ") } == names.map { _ in true })
        #expect(!text.output.contains(Self.secretKey))
      }
    }
  }

  @Test("a port with a running server is ok, and a port that another program has taken is a failure")
  func listener() async throws {
    try await withDatabase { database in
      try await withServers(1, on: database) { servers in
        let running = try await examine(["DATABASE_URL": database.url, "HTTP_PORT": "\(servers[0].port)"])
        #expect(running["listener"] == "ok" && running.text("listener").contains("a server answers"))
      }
      try await TestMailServer.with { mailbox in
        let other = try await examine(["DATABASE_URL": database.url, "HTTP_PORT": "\(mailbox.port)"])
        #expect(other["listener"] == "failed" && other.exitStatus == 1, "\(other)")
      }
    }
    let nowhere = try await examine(["DATABASE_URL": "host=/nowhere", "HTTP_HOST": "192.0.2.1"])
    #expect(nowhere["listener"] == "failed")
  }

  @Test("with HTTP_SOCKET the socket is checked instead of the port, and with TLS_CERTIFICATE the certificate")
  func socketAndCertificate() async throws {
    try await withFolder { folder in
      let socket = folder + "/http.sock"
      let free = try await examine(["DATABASE_URL": "host=/nowhere", "HTTP_SOCKET": socket])
      #expect(free["listener"] == "ok" && free.text("listener") == socket + " is free")
      #expect(FileManager.default.createFile(atPath: socket, contents: Data()))
      let file = try await examine(["DATABASE_URL": "host=/nowhere", "HTTP_SOCKET": socket])
      #expect(file["listener"] == "failed" && file.text("listener").contains("not a socket"))
      let certificate = ["TLS_CERTIFICATE": folder + "/server.crt", "TLS_KEY": folder + "/server.key"]
      let missing = try await examine(["DATABASE_URL": "host=/nowhere"].merging(certificate) { $1 })
      #expect(missing["certificate"] == "failed" && missing.text("certificate").contains("server.crt"), "\(missing)")
    }
  }

  @Test("if the database does not answer, that is one failure, and the checks that need it are not run")
  func unreachable() async throws {
    let diagnosis = try await examine(["DATABASE_URL": "host=/nowhere"])
    #expect(diagnosis.exitStatus == 1 && diagnosis.status == "failed")
    #expect(diagnosis["database"] == "failed")
    for name in ["roles", "migrations", "access", "clock", "secret key"] {
      #expect(diagnosis.text(name).hasPrefix("not checked"), "\(name)")
    }
    #expect(diagnosis["spool"] == "ok")
  }

  @Test("a configuration that cannot be read is a failure that names the key")
  func misconfigured() async throws {
    let diagnosis = try await examine(["DATABASE_URL": "host=/nowhere", "HTTP_PORT": "high"])
    #expect(diagnosis.exitStatus == 1)
    #expect(diagnosis["configuration"] == "failed" && diagnosis.text("configuration").contains("HTTP_PORT"))
    #expect(diagnosis.findings.count == 1)
  }

  @Test("all settings that cannot be read are named at once")
  func allMisconfigured() async throws {
    let diagnosis = try await examine(["HTTP_PORT": "high", "CACHE_LEASE_SECONDS": "0", "TLS_KEY": "key"])
    for key in ["DATABASE_URL", "HTTP_PORT", "CACHE_LEASE_SECONDS", "TLS_CERTIFICATE"] {
      #expect(diagnosis.text("configuration").contains(key), "\(key)")
    }
  }

  @Test("the options for where to listen are those of serve")
  func options() async throws {
    let port = try freePort()
    let result = try await latchkey(
      ["doctor", "--http-port", "\(port)"], environment: ["DATABASE_URL": "host=/nowhere", "HTTP_PORT": "high"])
    #expect(result.output.contains("127.0.0.1:\(port) is free"), "\(result)")
  }

  @Test("pending migrations and missing privileges are failures that say what to run")
  func schema() async throws {
    try await withDatabase(isSwept: false) { database in
      let run = { (sql: String) in
        try await PostgresPool.with(database.configuration) { pool in
          try await pool.withConnection { try await $0.executeScript(sql) }
        }
      }
      try await run("revoke select on plans from latchkey_portal")
      let missing = try await examine(["DATABASE_URL": database.url])
      #expect(missing["migrations"] == "ok" && missing["access"] == "failed")
      #expect(missing.text("access").contains("grant select on plans to latchkey_portal"))
      try await run("drop schema public cascade; create schema public")
      let pending = try await examine(["DATABASE_URL": database.url])
      for name in ["migrations", "access", "secret key"] {
        #expect(pending[name] == "failed" && pending.text(name).contains("run latchkey migrate first"), "\(pending)")
      }
    }
  }

  @Test("files that were set aside and a SECRET_KEY that is not random are warnings, and the exit status is 0")
  func warnings() async throws {
    try await withDatabase { database in
      try await withFolder { folder in
        let source = folder + "/" + UUID().uuidString
        try FileManager.default.createDirectory(atPath: source, withIntermediateDirectories: true)
        #expect(FileManager.default.createFile(atPath: source + "/1.counters.aside", contents: nil))
        let diagnosis = try await examine([
          "DATABASE_URL": database.url, "HTTP_PORT": "\(try freePort())", "USAGE_SPOOL": folder,
          "SECRET_KEY": Data(repeating: UInt8(ascii: "x"), count: 32).base64EncodedString(),
        ])
        #expect(diagnosis.exitStatus == 0 && diagnosis.status == "warning", "\(diagnosis)")
        #expect(diagnosis["spool"] == "warning" && diagnosis.text("spool").contains("1.counters.aside"))
        #expect(diagnosis["secret key"] == "warning")
      }
    }
  }

  @Test("a spool that is a file is a failure")
  func spool() async throws {
    try await withFolder { folder in
      #expect(FileManager.default.createFile(atPath: folder + "/file", contents: nil))
      let diagnosis = try await examine(["DATABASE_URL": "host=/nowhere", "USAGE_SPOOL": folder + "/file"])
      #expect(diagnosis["spool"] == "failed" && diagnosis.text("spool").contains("is not a folder"))
      let below = try await examine(["DATABASE_URL": "host=/nowhere", "USAGE_SPOOL": folder + "/file/spool"])
      #expect(below["spool"] == "failed")
    }
  }

  @Test("a SECRET_KEY that does not decrypt the second factors, or none, is a failure")
  func secretKey() async throws {
    try await withDatabase(isSwept: false) { database in
      try await PostgresPool.with(database.configuration) { pool in
        try await pool.withConnection {
          try await $0.executeScript(
            """
            insert into users (id, email, password_hash) values (gen_random_uuid(), 'ada@example.com', '');
            insert into second_factors (user_id, sealed_secret)
            select id, sha256('a') || substr(sha256('b'), 1, 16) from users
            """)
        }
      }
      let other = try await examine(["DATABASE_URL": database.url, "SECRET_KEY": Self.secretKey])
      #expect(other["secret key"] == "failed" && other.text("secret key").contains("does not decrypt 1"))
      let none = try await examine(["DATABASE_URL": database.url])
      #expect(none["secret key"] == "failed" && none.text("secret key").contains("is not set"))
    }
  }

  @Test("the mail server is asked whether it accepts the credentials, and gets no mail")
  func mail() async throws {
    try await TestMailServer.with(.init(hasTLS: false, credentials: ("relay", "relay-password"))) { mailbox in
      let environment = { (password: String) in
        [
          "DATABASE_URL": "host=/nowhere", "MAIL_URL": "smtp://relay:\(password)@127.0.0.1:\(mailbox.port)",
          "MAIL_FROM": "mail@latchkey.example",
        ]
      }
      let right = try await examine(environment("relay-password"))
      #expect(right["mail"] == "ok" && right.text("mail").contains("accepts the credentials"), "\(right)")
      let wrong = try await examine(environment("another-password"))
      #expect(wrong["mail"] == "failed" && !wrong.text("mail").contains("another-password"), "\(wrong)")
      let mails = try mailbox.mails()
      #expect(mails.isEmpty)
    }
    let nobody = try await examine([
      "DATABASE_URL": "host=/nowhere", "MAIL_URL": "smtp://127.0.0.1:1", "MAIL_FROM": "mail@latchkey.example",
    ])
    #expect(nobody["mail"] == "failed")
  }
}
