import Foundation
import PortalTesting
import Testing

@testable import Portal

@Suite("MailMessage")
struct MailMessageTests {
  private func message(
    from: String = "Latchkey <mail@latchkey.example>", to recipient: String = "ada@example.com",
    subject: String = "Hello", body: String = "Hello,\n"
  ) -> MailMessage {
    var text = MailText(.passwordChanged, Mail.Parameters(), token: nil, portalURL: "")
    text.subject = subject
    text.body = body
    return MailMessage(
      id: .numbered(7), from: Mailbox(from)!, recipient: recipient, text: text,
      date: Date(timeIntervalSince1970: 1_767_225_600))
  }

  private func mail(_ message: MailMessage) throws -> TestMail {
    TestMail(raw: String(decoding: try message.bytes(), as: UTF8.self))
  }

  @Test("a message has the headers of RFC 5322 and MIME, and its id is the same each time it is sent")
  func headers() throws {
    let mail = try mail(message())
    #expect(mail.header("From") == "\"Latchkey\" <mail@latchkey.example>")
    #expect(mail.header("To") == "<ada@example.com>")
    #expect(mail.header("Subject") == "Hello")
    #expect(mail.header("Date") == "Thu, 1 Jan 2026 00:00:00 +0000")
    #expect(mail.header("Message-ID") == "<\(UUID.numbered(7).text)@latchkey.example>")
    #expect(mail.header("MIME-Version") == "1.0")
    #expect(mail.header("Content-Type") == "text/plain; charset=utf-8")
    #expect(mail.header("Content-Transfer-Encoding") == "quoted-printable")
    #expect(mail.header("Auto-Submitted") == "auto-generated")
  }

  @Test("any text is encoded in lines of at most 76 ASCII characters, and decoded to the same text")
  func quotedPrintable() throws {
    for body in [
      "", "a", "a = b", "trailing blank \nand tab\t\n", String(repeating: "x", count: 500) + "\n", "Ünïcode 🔑\n",
      String(repeating: "🔑", count: 100), ".\n..\n", "\r\nfolded\r\n", "=3D", String(repeating: "=", count: 200),
    ] {
      let mail = try mail(message(body: body))
      #expect(mail.text == body.replacing("\r\n", with: "\n") + "\n", "\(body)")
      let lines = mail.raw.components(separatedBy: "\r\n")
      #expect(lines.allSatisfy { $0.utf8.count <= 76 && $0.utf8.allSatisfy { (32...126).contains($0) || $0 == 9 } })
      #expect(lines.allSatisfy { !$0.hasSuffix(" ") && !$0.hasSuffix("\t") })
    }
  }

  @Test("a subject that is long or not plain ASCII is written as encoded words of at most 75 characters")
  func subjects() throws {
    for subject in ["Schlüssel", String(repeating: "🔑", count: 100), String(repeating: "k", count: 200), "=?utf-8?"] {
      let header = try #require(try mail(message(subject: subject)).header("Subject"))
      let words = header.split(separator: " ")
      #expect(words.allSatisfy { $0.hasPrefix("=?utf-8?B?") && $0.hasSuffix("?=") && $0.count <= 75 })
      let decoded = words.map { word in
        Data(base64Encoded: String(word.dropFirst(10).dropLast(2))).map { String(decoding: $0, as: UTF8.self) } ?? "?"
      }
      #expect(decoded.joined() == subject)
    }
  }

  @Test("no header accepts a line break, and no address contains another")
  func injection() {
    for subject in ["a\r\nBcc: eve@example.com", "a\nb", "a\rb", "ü\r\nBcc: eve@example.com", "a\u{0}", "a\r\n b"] {
      #expect(throws: MailFailure.self, "\(subject.debugDescription)") { try message(subject: subject).bytes() }
    }
    for recipient in [
      "ada@example.com\r\nRCPT TO:<eve@example.com>", "ada@example.com>,<eve@example.com", "a,b@example.com",
      "<ada@example.com", "ada@example.com> NOTIFY=NEVER", "\"a b\"@example.com", "a(b)@example.com", "ada", "@",
      "a@b@c",
      "a:b@example.com", "a\\b@example.com", "ada@[127.0.0.1]", "",
    ] {
      let failure = #expect(throws: MailFailure.self, "\(recipient)") { try message(to: recipient).bytes() }
      #expect(failure?.isPermanent == true)
    }
    for recipient in ["a'--@example.com", "ada+keys@example.com", "日本@例え.jp"] {
      #expect(throws: Never.self, "\(recipient)") { try message(to: recipient).bytes() }
    }
  }

  @Test("a sender is an address with an optional name before it")
  func mailboxes() throws {
    #expect(Mailbox("ada@example.com")?.name == nil)
    #expect(Mailbox(" Ada Lovelace <Ada@Example.com> ")?.name == "Ada Lovelace")
    #expect(Mailbox("\"Ada, Keys\" <ada@example.com>")?.address == "ada@example.com")
    for text in ["", "Ada", "Ada <ada>", "Ada <a@b.c", "a@b.c, d@e.f", "A\r\nB <a@b.c>", "<>"] {
      #expect(Mailbox(text) == nil, "\(text.debugDescription)")
    }
    #expect(try mail(message(from: #"A "B" \C <a@b.c>"#)).header("From") == #""A \"B\" \\C" <a@b.c>"#)
    #expect(try mail(message(from: "Schlüssel <a@b.c>")).header("From") == "=?utf-8?B?U2NobMO8c3NlbA==?= <a@b.c>")
  }
}

@Suite("MailBackoff")
struct MailBackoffTests {
  @Test("each delay is twice the previous one, up to the maximum, times a random factor of at least one half")
  func doubling() {
    let backoff = MailBackoff()
    #expect((1...5).map { backoff.delay(after: $0, random: 1) } == [15, 30, 60, 120, 240].map { .seconds($0) })
    #expect(backoff.delay(after: 1, random: 0) == .seconds(7.5))
    for attempt in [9, 14, 100, .max] { #expect(backoff.delay(after: attempt, random: 1) == .seconds(3_600)) }
  }
}
