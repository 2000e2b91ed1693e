import Foundation
import PortalAPI
import PortalHTTP
import PortalTesting
import Postgres
import PostgresTesting
import Testing

@Suite("Mail of latchkey serve, the real binary")
struct MailTests {
  @Test("a mail that a killed server had not sent is sent by another, by STARTTLS with the credentials in MAIL_URL")
  func killed() async throws {
    try await withDatabase { database in
      try await TestMailServer.with(.init(credentials: ("relay", "p@ss"))) { mailbox in
        let spool = "/tmp/latchkey-mail-\(database.name)"
        defer { try? FileManager.default.removeItem(atPath: spool) }
        func settings(port: Int) -> [String: String] {
          [
            "MAIL_URL": "smtp://relay:p%40ss@localhost:\(port)", "MAIL_FROM": "Keys <keys@latchkey.example>",
            "MAIL_TLS": "required", "MAIL_CA_FILE": TestMailServer.certificate,
          ]
        }
        let killed = try await RunningServer(on: database, spool: spool, environment: settings(port: 1))
        let answer = try await curl([
          killed.url + "/v1/signup", "-H", "Content-Type: application/json", "-d",
          #"{"email":"ada@example.com","password":"correct horse battery","accountName":"Acme"}"#,
        ])
        #expect(answer.output == #"{"status":"accepted"}"#)
        try await eventually("the failure to send is logged") { killed.readLog().contains("a mail could not be sent") }
        #expect(!killed.readLog().contains("p@ss") && !killed.readLog().contains("ada@example.com"))
        #expect(try await curl([killed.url + "/readyz"]).output.contains("mail could not be sent"))
        _ = try await killed.end(SIGKILL)
        try await PostgresPool.with(database.configuration) { pool in
          try await pool.withConnection { try await $0.executeScript("update mails set due_at = now()") }
        }
        let server = try await RunningServer(on: database, spool: spool, environment: settings(port: mailbox.port))
        try await eventually("the mail arrives") { try mailbox.mails().count == 1 }
        #expect(
          try mailbox.envelopes() == [
            .init(from: "keys@latchkey.example", to: ["ada@example.com"], encrypted: true, user: "relay")
          ])
        let token = try #require(try mailbox.mails().first?.token)
        let confirmed = try await curl([
          "-o", "/dev/null", "-w", "%{http_code}", server.url + "/v1/email/verify", "-H",
          "Content-Type: application/json",
          "-d", "{\"token\":\"\(token)\"}",
        ])
        #expect(confirmed.output == "204")
        #expect(try await server.end() == 0)
      }
    }
  }
}
