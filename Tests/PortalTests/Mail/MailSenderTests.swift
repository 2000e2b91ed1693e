import Foundation
import PortalTesting
import Postgres
import PostgresTesting
import ServiceLifecycle
import Testing

@testable import Portal

@Suite("MailSender")
struct MailSenderTests {
  private let observations = Observations()

  /// Runs `body` while senders run on one database, one per simulated instance.
  private func withSenders(
    _ count: Int = 1, of world: World, _ settings: MailSettings, _ body: () async throws -> Void
  ) async throws {
    let tasks = (0..<count).map { number in
      let sender = MailSender(
        pool: world.pool, outbox: number == 0 ? world.outbox : Outbox(isOpen: true), settings: settings,
        portalURL: "https://keys.example.com", observer: Observer([observations.sink]))
      return Task { try await sender.run() }
    }
    let result: Result<Void, any Error>
    do { result = .success(try await body()) } catch { result = .failure(error) }
    for task in tasks { task.cancel() }
    for task in tasks { _ = await task.result }
    try result.get()
  }

  private func states(_ pool: PostgresPool) async throws -> [String] {
    try await pool.lines("select state || ' ' || attempt_count from mails order by id")
  }

  private func enqueue(_ world: World, _ kind: Mail.Kind = .passwordChanged, _ recipient: String) async throws {
    try await world.pool.execute(world.outbox.mail(kind, to: recipient))
    world.outbox.ring()
  }

  @Test("an enqueued mail is sent once, by SMTP with STARTTLS")
  func sends() async throws {
    try await withPool { pool in
      try await TestMailServer.with { mailbox in
        let world = World(pool, hasMail: true)
        try await withSenders(of: world, .test(.smtp(mailbox.server()))) {
          try await enqueue(world, .passwordChanged, "ada@example.com")
          try await eventually("the mail is recorded as sent") { try await states(pool) == ["sent 1"] }
        }
        let id = try #require(try await pool.text("select id from mails"))
        #expect(try mailbox.mails().map { $0.header("Message-ID") } == ["<\(id)@latchkey.example>"])
        #expect(try mailbox.envelopes().map(\.encrypted) == [true])
        #expect(observations.count(.mailSent(.passwordChanged)) == 1)
      }
    }
  }

  @Test("a mail that is temporarily refused, or accepted without a response, is sent again with the same id")
  func atLeastOnce() async throws {
    try await withPool { pool in
      try await TestMailServer.with(.init(faults: ["rcpt 450", "data 451", "drop", "drop", "ok"])) { mailbox in
        let world = World(pool, hasMail: true)
        try await withSenders(of: world, .test(.smtp(mailbox.server()))) {
          try await enqueue(world, .passwordChanged, "ada@example.com")
          try await eventually("the mail is recorded as sent") { try await states(pool) == ["sent 5"] }
        }
        let ids = try mailbox.mails().map { $0.header("Message-ID") }
        #expect(ids.count == 3 && Set(ids).count == 1)
        let deferred = observations.count { if case .mailDeferred(.passwordChanged, _) = $0 { true } else { false } }
        #expect(deferred == 4)
      }
    }
  }

  @Test("an unreachable server is retried as often as the settings allow, and the reason of the failure is reported")
  func refused() async throws {
    try await withPool { pool in
      let world = World(pool, hasMail: true)
      var settings = try MailSettings.test(.smtp(try #require(SMTPServer(url: "smtp://127.0.0.1:1"))))
      settings.attemptCountMax = 3
      let sender = MailSender(
        pool: pool, outbox: world.outbox, settings: settings, portalURL: "", observer: Observer([observations.sink]))
      let task = Task { try await sender.run() }
      try await enqueue(world, .passwordChanged, "ada@example.com")
      try await eventually("the mail is given up after the last attempt") {
        try await states(pool) == ["failed 3"]
      }
      task.cancel()
      _ = await task.result
      let error = try #require(try await pool.text("select last_error from mails"))
      #expect(error.contains("connect") && sender.lastFailure == error)
      #expect(observations.count(.mailFailed(.passwordChanged, error)) == 1)
    }
  }

  @Test("a mail that a server permanently refuses is not tried again, and does not keep others from being sent")
  func permanent() async throws {
    try await withPool { pool in
      try await TestMailServer.with(.init(faults: ["rcpt 550"])) { mailbox in
        let world = World(pool, hasMail: true)
        try await withSenders(of: world, .test(.smtp(mailbox.server()))) {
          try await enqueue(world, .passwordChanged, "gone@example.com")
          try await eventually("the mail is given up") { try await states(pool) == ["failed 1"] }
          try await enqueue(world, .passwordChanged, "a,b@example.com")
          try await enqueue(world, .passwordChanged, "ada@example.com")
          try await eventually("the others are done") {
            try await states(pool) == ["failed 1", "failed 1", "sent 1"]
          }
        }
        #expect(try mailbox.envelopes().map(\.to) == [["ada@example.com"]])
      }
    }
  }

  @Test("several instances share the work, and each mail is sent once")
  func shared() async throws {
    try await withPool { pool in
      try await TestMailFolder.with { folder in
        let world = World(pool, hasMail: true)
        try await pool.script(
          """
          insert into mails (id, kind, recipient)
          select gen_random_uuid(), 'password_changed', 'p' || n || '@example.com' from generate_series(1, 200) n
          """)
        try await withSenders(4, of: world, .test(.folder(folder.path))) {
          try await eventually("all are sent") {
            try await pool.number("select count(*) from mails where state = 'sent' and attempt_count = 1") == 200
          }
        }
        #expect(Set(try folder.mails().compactMap(\.recipient)).count == 200)
        #expect(observations.count(.mailSent(.passwordChanged)) == 200)
      }
    }
  }

  @Test("a mail whose sender died is sent when its lease has expired, and not before")
  func lease() async throws {
    try await withPool { pool in
      try await TestMailFolder.with { folder in
        let world = World(pool, hasMail: true)
        try await enqueue(world, .passwordChanged, "ada@example.com")
        let claim = ClaimMails(lease: .seconds(3_600), count: 10)
        #expect(try await pool.query(claim).map(\.attempt) == [1])
        #expect(try await pool.query(claim).isEmpty)
        try await withSenders(of: world, .test(.folder(folder.path))) {
          try await enqueue(world, .passwordChanged, "eve@example.com")
          try await eventually("the mail without a lease is sent") {
            try folder.mails(to: "eve@example.com").count == 1
          }
          #expect(try folder.mails(to: "ada@example.com").isEmpty)
          try await pool.script("update mails set due_at = now() where state = 'waiting'")
          _ = try await folder.mails(to: "ada@example.com", count: 1)
        }
        // The sender that died comes back, too late to defer the mail.
        #expect(
          try await pool.execute(
            DeferMail(id: try await pool.query(ListMailIDs())[0], attempt: 1, delay: .zero, error: "late")) == 0)
        #expect(try await states(pool).sorted() == ["sent 1", "sent 2"])
      }
    }
  }

  @Test("a token is only in the mail; the database has its hash before the mail is sent")
  func tokens() async throws {
    try await withPool { pool in
      try await TestMailServer.with(.init(faults: ["drop"])) { mailbox in
        let world = World(pool, hasMail: true)
        _ = try await world.makeAccount()
        try await withSenders(of: world, .test(.smtp(mailbox.server()))) {
          try await world.credentials.requestReset(EmailAddress("ada@example.com")!, from: nil)
          try await eventually("the mail is sent again") { try await states(pool) == ["sent 2"] }
        }
        let tokens = try mailbox.mails().compactMap(\.token)
        #expect(tokens.count == 2 && Set(tokens).count == 2)
        for token in tokens {
          let hash = "encode(sha256('\(token)'), 'hex')"
          #expect(
            try await pool.number(
              "select count(*) from one_time_tokens where encode(token_hash, 'hex') = \(hash) and used_at is null") == 1
          )
        }
        let tables = try await pool.lines(
          "select relname from pg_class where relnamespace = 'public'::regnamespace and relkind = 'r'")
        #expect(tables.count > 15)
        for table in tables {
          let rows = try await pool.text("select string_agg(t::text, chr(10)) from \(table) t") ?? ""
          for token in tokens { #expect(!rows.contains(token.suffix(40)), "\(table)") }
        }
      }
    }
  }

  @Test("outdated mails are not sent: resets after half an hour, confirmations of confirmed addresses")
  func outdated() async throws {
    try await withPool { pool in
      try await TestMailFolder.with { folder in
        let world = World(pool, hasMail: true)
        let account = try await world.makeAccount()
        let user = try await pool.text("select id from users")!
        try await pool.script(
          """
          insert into mails (id, kind, recipient, user_id, created_at) values
            ('\(UUID.numbered(1))', 'password_reset', 'ada@example.com', null, now() - interval '31 minutes'),
            ('\(UUID.numbered(2))', 'password_reset', 'nobody@example.com', null, now()),
            ('\(UUID.numbered(3))', 'email_verification', 'ada@example.com', '\(user)', now()),
            ('\(UUID.numbered(4))', 'email_verification', 'ada@example.com', '\(account)', now()),
            ('\(UUID.numbered(5))', 'of_the_future', 'ada@example.com', null, now());
          update users set email_verified_at = now()
          """)
        try await withSenders(of: world, .test(.folder(folder.path))) {
          try await eventually("all mails of known kinds are finished") {
            try await states(pool) == ["failed 1", "dropped 1", "dropped 1", "dropped 1", "waiting 0"]
          }
        }
        #expect(try folder.mails().isEmpty)
        #expect(try await pool.number("select count(*) from one_time_tokens") == 0)
      }
    }
  }

  @Test("mails in a folder are readable only by their owner, and none is incomplete")
  func folder() async throws {
    try await withPool { pool in
      try await TestMailFolder.with { folder in
        let world = World(pool, hasMail: true)
        try await withSenders(of: world, .test(.folder(folder.path + "/deep"))) {
          try await enqueue(world, .passwordChanged, "ada@example.com")
          try await eventually("the mail is sent") { try await states(pool) == ["sent 1"] }
        }
        let files = try FileManager.default.contentsOfDirectory(atPath: folder.path + "/deep")
        #expect(files.count == 1 && files[0].hasSuffix(".eml"))
        for (path, mode) in [("", 0o700), ("/" + files[0], 0o600)] {
          let attributes = try FileManager.default.attributesOfItem(atPath: folder.path + "/deep" + path)
          #expect(attributes[.posixPermissions] as? Int == mode)
        }
      }
    }
  }

  @Test("an address gets at most five mails of one kind in half an hour, however many are requested")
  func bounded() async throws {
    try await withPool { pool in
      let world = World(pool, hasMail: true)
      for _ in 0..<8 {
        for recipient in ["ada@example.com", "eve@example.com"] { try await enqueue(world, .passwordReset, recipient) }
      }
      try await enqueue(world, .signUp, "ada@example.com")
      let counts = "select recipient || ' ' || kind || ' ' || count(*) from mails group by recipient, kind order by 1"
      #expect(
        try await pool.lines(counts) == [
          "ada@example.com password_reset 5", "ada@example.com sign_up 1", "eve@example.com password_reset 5",
        ])
      try await pool.script("update mails set created_at = created_at - interval '61 minutes'")
      try await enqueue(world, .passwordReset, "ada@example.com")
      #expect(try await pool.number("select count(*) from mails") == 12)
    }
  }

  @Test("nothing is enqueued if mail is not configured")
  func closed() async throws {
    try await withPool { pool in
      let world = World(pool)
      let account = try await world.makeAccount()
      _ = try await world.makeKey(account)
      try await enqueue(world, .passwordChanged, "ada@example.com")
      await #expect(throws: PortalError.mailNotConfigured) {
        try await world.credentials.requestReset(EmailAddress("ada@example.com")!, from: nil)
      }
      #expect(try await pool.number("select count(*) from mails") == 0)
    }
  }
}

/// In the order in which they were enqueued.
private struct ListMailIDs: PostgresStatement {
  typealias Row = UUID
  static let sql = "select id from mails order by created_at"
}
