import Foundation
import PortalTesting
import Testing

@testable import Portal

@Suite("SMTPServer")
struct SMTPServerTests {
  private func send(_ server: SMTPServer, to recipient: String = "ada@example.com") async throws {
    // Sending blocks.
    try await withCheckedThrowingContinuation { (continuation: CheckedContinuation<Void, any Error>) in
      Thread.detachNewThread {
        continuation.resume(
          with: Result {
            try server.send(
              Array("Subject: Hello\r\n\r\nHello,\r\n.\r\n..\r\nend\r\n".utf8), from: "mail@latchkey.example",
              to: recipient)
          })
      }
    }
  }

  private func failure(_ server: SMTPServer, to recipient: String = "ada@example.com") async -> MailFailure? {
    do {
      try await send(server, to: recipient)
      return nil
    } catch { return error as? MailFailure }
  }

  @Test("a URL has host, port, credentials and security: TLS with smtps, otherwise STARTTLS unless the host is local")
  func urls() throws {
    let relay = try #require(SMTPServer(url: "smtp://ada:p%40ss@mail.example.com"))
    #expect(relay.host == "mail.example.com" && relay.port == 587 && relay.security == .startTLS)
    #expect(relay.user == "ada" && relay.password?.reveal() == "p@ss")
    #expect(!"\(relay)".contains("p@ss"))
    let secure = try #require(SMTPServer(url: "smtps://mail.example.com/"))
    #expect(secure.port == 465 && secure.security == .tls && secure.user == nil)
    for url in ["smtp://127.0.0.1:25", "smtp://localhost:25", "smtp://[::1]:25"] {
      #expect(SMTPServer(url: url)?.security == SMTPServer.Security.none, "\(url)")
    }
    for url in ["", "mail.example.com", "http://mail.example.com", "smtp://", "smtp://a/b", "smtp://a?b", "smtp://a:x"]
    {
      #expect(SMTPServer(url: url) == nil, "\(url)")
    }
  }

  @Test("mail is sent encrypted, with credentials, and arrives unchanged, including lines of a single dot")
  func encrypted() async throws {
    try await TestMailServer.with(.init(credentials: ("relay", "pass:wörd@"))) { mailbox in
      var server = try mailbox.server()
      server.user = "relay"
      server.password = Secret(presented: "pass:wörd@")
      try await send(server)
      #expect(
        try mailbox.envelopes() == [
          .init(from: "mail@latchkey.example", to: ["ada@example.com"], encrypted: true, user: "relay")
        ])
      #expect(try mailbox.mails().map(\.raw) == ["Subject: Hello\r\n\r\nHello,\r\n.\r\n..\r\nend\r\n"])
      // An operator can correct wrong credentials, so the failure is not permanent.
      server.password = Secret(presented: "another")
      let failure = await failure(server)
      #expect(failure?.isPermanent == false && failure?.reason.contains("another") == false)
    }
  }

  @Test("an address in another script arrives")
  func otherScripts() async throws {
    try await TestMailServer.with { mailbox in
      try await send(try mailbox.server(), to: "用户@example.com")
      #expect(try mailbox.envelopes().map(\.to) == [["用户@example.com"]])
    }
  }

  @Test("a server that accepts only ASCII addresses causes a permanent failure that says so, and accepts other mail")
  func asciiOnly() async throws {
    try await TestMailServer.with(.init(hasOtherScripts: false)) { mailbox in
      let server = try mailbox.server()
      let failure = await failure(server, to: "jos\u{E9}@example.com")
      #expect(failure?.isPermanent == true && failure?.reason.contains("SMTPUTF8") == true)
      try await send(server, to: "ada@xn--bcher-kva.example")
      #expect(try mailbox.envelopes().map(\.to) == [["ada@xn--bcher-kva.example"]])
    }
    // A server that accepts other scripts, but not this mailbox, gives its own reason.
    try await TestMailServer.with(.init(faults: ["rcpt 550"])) { mailbox in
      let failure = await failure(try mailbox.server(), to: "jos\u{E9}@example.com")
      #expect(failure?.isPermanent == true && failure?.reason.contains("SMTPUTF8") == false)
    }
  }

  @Test("a server without STARTTLS gets no mail if STARTTLS is required, and unencrypted mail if not")
  func startTLS() async throws {
    try await TestMailServer.with(.init(hasTLS: false)) { mailbox in
      #expect(await failure(try mailbox.server()) != nil)
      #expect(try mailbox.mails().isEmpty)
      try await send(try mailbox.server(.none))
      #expect(try mailbox.envelopes().map(\.encrypted) == [false])
    }
  }

  @Test("a certificate of an unknown authority, or for another host, is not trusted")
  func certificates() async throws {
    try await TestMailServer.with { mailbox in
      var server = try mailbox.server()
      server.authorityFile = nil
      #expect(await failure(server)?.isPermanent == false)
      server = try mailbox.server()
      server.host = "127.0.0.2"
      #expect(await failure(server) != nil)
      #expect(try mailbox.mails().isEmpty)
    }
  }

  @Test("a failure with 5yz is permanent; one with 4yz or without a response is temporary")
  func refusals() async throws {
    let faults = ["rcpt 450", "rcpt 550", "data 451", "data 554", "drop", "ok"]
    try await TestMailServer.with(.init(faults: faults)) { mailbox in
      let server = try mailbox.server()
      var outcomes: [Bool?] = []
      for _ in faults { outcomes.append(await failure(server)?.isPermanent) }
      #expect(outcomes == [false, true, false, true, false, nil])
      #expect(try mailbox.mails().count == 2)
    }
  }

  @Test("sending to a host that does not respond fails after the timeout")
  func timeout() async throws {
    // It listens, but never sends anything.
    let listener = try SilentListener()
    var server = try #require(SMTPServer(url: "smtp://127.0.0.1:\(listener.port)"))
    server.timeout = .milliseconds(50)
    #expect(await failure(server)?.isPermanent == false)
    server.port = 1
    #expect(await failure(server)?.isPermanent == false)
  }
}

/// A port that accepts connections and never responds.
private final class SilentListener {
  let port: Int
  private let descriptor: Int32

  init() throws {
    let descriptor = socket(AF_INET, Int32(SOCK_STREAM.rawValue), 0)
    self.descriptor = descriptor
    var address = sockaddr_in()
    address.sin_family = sa_family_t(AF_INET)
    address.sin_addr.s_addr = UInt32(0x7F00_0001).bigEndian
    var length = socklen_t(MemoryLayout<sockaddr_in>.size)
    let isBound = withUnsafeMutablePointer(to: &address) { pointer in
      pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) {
        bind(descriptor, $0, length) == 0 && listen(descriptor, 8) == 0 && getsockname(descriptor, $0, &length) == 0
      }
    }
    try #require(isBound)
    port = Int(UInt16(bigEndian: address.sin_port))
  }

  deinit { close(descriptor) }
}
