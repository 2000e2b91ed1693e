import Testing

@testable import Portal

@Suite("MailText")
struct MailTextTests {
  private let everything = Mail.Parameters(
    accountName: "Acme", actorName: "Grace", requesterName: "Hedy", keyCount: 26, keyName: "Orders",
    keyStart: "lk_live_abcd", reason: "leaked",
    ticket: "SUP-1", expiresAt: "2030-01-02 03:04 UTC", role: "viewer")

  private func text(_ kind: Mail.Kind, _ parameters: Mail.Parameters, _ token: Secret? = nil) -> MailText {
    MailText(kind, parameters, token: token, portalURL: "https://keys.example.com")
  }

  @Test("a mail with a token has it in a link after #, and on a line of its own; other mails link to the portal")
  func tokens() {
    for kind in Mail.Kind.allCases {
      guard let purpose = kind.purpose else {
        #expect(text(kind, everything).body.contains("\nhttps://keys.example.com\n"), "\(kind)")
        continue
      }
      let token = Secret.random(prefix: purpose.prefix)
      let lines = text(kind, everything, token).body.split(separator: "\n").map(String.init)
      #expect(lines.contains("https://keys.example.com" + purpose.path + "#" + token.reveal()), "\(kind)")
      #expect(lines.contains(token.reveal()), "\(kind)")
      #expect(lines.contains { $0.contains(purpose.lifetimeText) }, "\(kind)")
    }
  }

  @Test("a notice says who did what, and why")
  func contents() {
    for (kind, wanted) in [
      (Mail.Kind.keyCreated, ["Grace", "Acme", "Orders", "lk_live_abcd"]),
      (.keyRevoked, ["Grace", "Acme", "Orders", "lk_live_abcd", "leaked", "SUP-1"]),
      (.keysRevoked, ["Grace", "Hedy", "26 keys", "Acme", "leaked", "SUP-1"]),
      (.accountSuspended, ["Grace", "Acme", "leaked", "SUP-1"]),
      (.accountResumed, ["Grace", "Acme", "leaked", "SUP-1"]),
      (.keyExpiring, ["Acme", "Orders", "lk_live_abcd", "2030-01-02 03:04 UTC"]),
      (.invitation, ["Grace", "Acme", "viewer"]),
    ] {
      for word in wanted { #expect(text(kind, everything).body.contains(word), "\(kind) \(word)") }
    }
  }

  @Test("a notice about all keys names the requester only if that is not the actor, and uses the singular for one key")
  func keysRevoked() {
    let alone = Mail.Parameters(accountName: "Acme", actorName: "Grace", keyCount: 1, reason: "leaked")
    let body = text(.keysRevoked, alone).body
    #expect(body.contains("Our staff (Grace) revoked all API keys of the account Acme: 1 key. "))
    #expect(!body.contains("requested"))
    #expect(text(.keysRevoked, everything).body.contains("(Grace, as requested by Hedy)"))
  }

  @Test("a notice about a key that its holder revoked does not speak of staff")
  func revokedByHolder() {
    var parameters = everything
    parameters.isByHolder = true
    let body = text(.keyRevoked, parameters).body
    #expect(body.contains("with the key itself") && body.contains("lk_live_abcd") && !body.contains("staff"))
  }

  @Test("a notice about some keys does not say that all were revoked")
  func someKeys() {
    var parameters = everything
    parameters.isPartial = true
    let body = text(.keysRevoked, parameters).body
    #expect(body.contains("Our staff (Grace, as requested by Hedy) revoked 26 keys of the account Acme."))
    #expect(body.contains("leaked") && !body.contains("all API keys"))
  }

  @Test("a sign-up with an address that already has an account sends a different text without a token")
  func signUpOfKnown() {
    let text = text(.signUp, Mail.Parameters())
    #expect(text.subject == "You have an account already")
    #expect(!text.body.contains("lk_"))
  }

  @Test("names chosen by customers stay on their line and do not change the direction of text")
  func quoting() {
    let nasty = "Acme\r\nBcc: eve@example.com\n\nYour password is over\u{2028}\u{202E}\u{7}"
    let parameters = Mail.Parameters(
      accountName: nasty, actorName: nasty, requesterName: nasty, keyCount: 26, keyName: nasty, keyStart: nasty,
      reason: nasty, ticket: nasty,
      expiresAt: nasty, role: nasty)
    for kind in Mail.Kind.allCases {
      let (plain, quoted) = (text(kind, everything), text(kind, parameters))
      #expect(quoted.subject.unicodeScalars.allSatisfy { $0.properties.generalCategory != .control }, "\(kind)")
      #expect(quoted.body.count(where: \.isNewline) == plain.body.count(where: \.isNewline), "\(kind)")
      #expect(!quoted.body.unicodeScalars.contains("\u{202E}"), "\(kind)")
    }
  }
}
