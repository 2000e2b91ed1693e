import Foundation
package import Portal
import PortalAPI
import PortalHTTP
import PostgresTesting

/// A mail that arrived.
package struct TestMail: Sendable {
  /// Headers and text, as received.
  package let raw: String

  package init(raw: String) { self.raw = raw }

  /// A header's value, unfolded.
  package func header(_ name: String) -> String? {
    head.replacing("\r\n ", with: " ").components(separatedBy: "\r\n")
      .first { $0.hasPrefix(name + ": ") }.map { String($0.dropFirst(name.count + 2)) }
  }

  /// The text, decoded from quoted-printable.
  package var text: String {
    let body = raw.components(separatedBy: "\r\n\r\n").dropFirst().joined(separator: "\r\n\r\n")
    var bytes: [UInt8] = []
    var rest = Array(body.replacing("=\r\n", with: "").utf8)[...]
    while let byte = rest.popFirst() {
      if byte == UInt8(ascii: "="), let code = UInt8(String(decoding: rest.prefix(2), as: UTF8.self), radix: 16) {
        bytes.append(code)
        rest = rest.dropFirst(2)
      } else {
        bytes.append(byte)
      }
    }
    return String(decoding: bytes, as: UTF8.self).replacing("\r\n", with: "\n")
  }

  /// The one-time token in it, if there is one.
  package var token: String? {
    text.firstMatch(of: /^lk_[a-z]+_[0-9A-Za-z]{49}$/.anchorsMatchLineEndings()).map { String($0.output) }
  }

  package var recipient: String? { header("To").map { $0.trimmingCharacters(in: CharacterSet(charactersIn: "<>")) } }

  private var head: String { raw.components(separatedBy: "\r\n\r\n").first ?? "" }
}

/// The mail server of one test: aiosmtpd in a separate process.
package final class TestMailServer: Sendable {
  package struct Options: Sendable {
    package var hasTLS = true
    /// If set, clients must log in with them.
    package var credentials: (user: String, password: String)?
    /// One fault per mail, as in scripts/smtp-server.py.
    package var faults: [String] = []
    /// Whether it accepts addresses beyond ASCII.
    package var hasOtherScripts = true

    package init(
      hasTLS: Bool = true, credentials: (user: String, password: String)? = nil, faults: [String] = [],
      hasOtherScripts: Bool = true
    ) {
      self.hasTLS = hasTLS
      self.credentials = credentials
      self.faults = faults
      self.hasOtherScripts = hasOtherScripts
    }
  }

  /// The sender and recipients of a mail, and how it was sent.
  package struct Envelope: Sendable, Equatable, Decodable {
    package var from: String
    package var to: [String]
    package var encrypted: Bool
    package var user: String?

    package init(from: String, to: [String], encrypted: Bool, user: String?) {
      self.from = from
      self.to = to
      self.encrypted = encrypted
      self.user = user
    }
  }

  private static let environment = repositoryRoot + "/.local/smtp-venv"
  package static let certificate = environment + "/certificate.pem"

  package let port: Int
  private let folder: URL

  private init(port: Int, folder: URL) {
    self.port = port
    self.folder = folder
  }

  /// Runs `body` with a server.
  package static func with<Value>(
    _ options: Options = Options(), _ body: (TestMailServer) async throws -> Value
  ) async throws -> Value {
    let python = environment + "/bin/python3"
    guard FileManager.default.fileExists(atPath: python), FileManager.default.fileExists(atPath: certificate) else {
      throw TestSetupError(
        description: "there is no mail server; run the tests with make test, or scripts/prepare-smtp")
    }
    let folder = FileManager.default.temporaryDirectory.appending(path: "latchkey-smtp-\(UUID())")
    try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
    defer { try? FileManager.default.removeItem(at: folder) }
    var arguments = [repositoryRoot + "/scripts/smtp-server.py", "--folder", folder.path]
    if options.hasTLS { arguments += ["--certificate", certificate, "--key", environment + "/key.pem"] }
    if let (user, password) = options.credentials { arguments += ["--user", user, "--password", password] }
    if !options.hasOtherScripts { arguments.append("--ascii") }
    for fault in options.faults { arguments += ["--fault", fault] }
    let log = folder.appending(path: "log").path
    let process = try ChildProcess(python, arguments, output: log)
    let result: Result<Value, any Error>
    do {
      let file = folder.appending(path: "port")
      try await eventually("the mail server listens", within: .seconds(60)) {
        guard process.isRunning else {
          throw TestSetupError(
            description: "the mail server ended: \(try String(contentsOfFile: log, encoding: .utf8))")
        }
        return FileManager.default.fileExists(atPath: file.path)
      }
      guard let port = Int(try String(contentsOf: file, encoding: .utf8)) else {
        throw TestSetupError(description: "the mail server has no port")
      }
      let server = TestMailServer(port: port, folder: folder)
      let value = try await body(server)
      try server.mails().checkForSecrets()
      result = .success(value)
    } catch {
      result = .failure(error)
    }
    process.send(SIGKILL)
    _ = await process.wait()
    return try result.get()
  }

  /// The mails received, in order.
  package func mails() throws -> [TestMail] {
    try numbers().map { number in
      TestMail(raw: try String(contentsOf: folder.appending(path: "\(number).eml"), encoding: .utf8))
    }
  }

  package func envelopes() throws -> [Envelope] {
    try numbers().map { number in
      try JSONDecoder().decode(
        Envelope.self, from: try Data(contentsOf: folder.appending(path: "\(number).json")))
    }
  }

  /// The settings for connecting to it.
  package func server(_ security: SMTPServer.Security = .startTLS) throws -> SMTPServer {
    guard var server = SMTPServer(url: "smtp://localhost:\(port)") else {
      throw TestSetupError(description: "the mail server's URL is wrong")
    }
    server.security = security
    server.authorityFile = Self.certificate
    return server
  }

  private func numbers() throws -> [Int] {
    try FileManager.default.contentsOfDirectory(atPath: folder.path)
      .filter { $0.hasSuffix(".eml") }.compactMap { Int($0.dropLast(4)) }.sorted()
  }
}

extension [TestMail] {
  /// Throws ``SecretsFound`` if a mail contains a secret other than a one-time token.
  fileprivate func checkForSecrets() throws {
    for mail in self {
      try SecretsSweep().check(
        mail.raw + mail.text, allowing: Set(OneTimeToken.Purpose.allCases.map(\.prefix)), "a mail")
    }
  }
}

extension MailSettings {
  /// Short intervals for tests: failed mails are retried within milliseconds.
  package static func test(_ transport: MailTransport) throws -> MailSettings {
    guard let from = Mailbox("Latchkey <mail@latchkey.example>") else {
      throw TestSetupError(description: "the sender's address is wrong")
    }
    var settings = MailSettings(transport: transport, from: from)
    settings.pollInterval = .milliseconds(50)
    settings.backoff.first = .milliseconds(2)
    settings.backoff.max = .milliseconds(20)
    return settings
  }
}

/// A temporary folder that mail is written to.
package struct TestMailFolder: Sendable {
  package let path: String

  package static func with<Value>(_ body: (TestMailFolder) async throws -> Value) async throws -> Value {
    let folder = TestMailFolder(
      path: FileManager.default.temporaryDirectory.appending(path: "latchkey-mail-\(UUID())").path)
    defer { try? FileManager.default.removeItem(atPath: folder.path) }
    let value = try await body(folder)
    try folder.mails().checkForSecrets()
    return value
  }

  /// The mails sent, to one address if it is given, ordered by id, which is by creation time for version 7 ids.
  package func mails(to recipient: String? = nil) throws -> [TestMail] {
    guard FileManager.default.fileExists(atPath: path) else { return [] }
    return try FileManager.default.contentsOfDirectory(atPath: path).filter { $0.hasSuffix(".eml") }.sorted()
      .map { TestMail(raw: try String(contentsOfFile: path + "/" + $0, encoding: .utf8)) }
      .filter { recipient == nil || $0.recipient == recipient }
  }

  /// Waits until `count` mails have arrived.
  package func mails(to recipient: String, count: Int) async throws -> [TestMail] {
    try await eventually("\(count) mails have arrived for \(recipient)") { try mails(to: recipient).count >= count }
    return try mails(to: recipient)
  }
}
