import Portal
import PortalAPI
import PortalApplication
import PortalHTTP
import PortalTesting
import Postgres
import PostgresTesting
import Testing

/// Runs `body` with a portal that writes its mail to a folder.
func withMailPortal(
  _ body: @escaping @Sendable (TestPortal, TestMailFolder) async throws -> Void
) async throws {
  try await TestMailFolder.with { folder in
    let settings = try MailSettings.test(.folder(folder.path))
    try await withPortal(configure: { $0.mail = settings }) { portal in try await body(portal, folder) }
  }
}

/// Bodies without a valid token, each with the location of its problem.
enum TokenBodies {
  /// `more` are further, valid members.
  static func bad(_ more: String = "") -> [(String, String)] {
    [
      ("{\(more)}", "body.token"), ("{\"token\":null\(comma(more))}", "body.token"),
      ("{\"token\":7\(comma(more))}", "body.token"), ("{\"token\":\"\"\(comma(more))}", "body.token"),
      ("{\"token\":\"\(String(repeating: "t", count: 257))\"\(comma(more))}", "body.token"),
      ("{\"token\":\"t\",\"tokens\":\"t\"\(comma(more))}", "body.tokens"), ("[]", "body"), ("", "body"), ("{", "body"),
    ]
  }

  private static func comma(_ more: String) -> String { more.isEmpty ? "" : "," + more }
}

/// Mails that are still to be sent.
private struct CountWaitingMails: PostgresStatement {
  typealias Row = Int
  static let sql = "select count(*) from mails where state = 'waiting'"
}

extension TestPortal {
  /// Creates a customer with an account, as an operator would.
  func makeUser(_ email: String) async throws {
    let (address, password) = (
      try #require(EmailAddress(email)), try #require(Password("correct horse battery"))
    )
    _ = try await services.accounts.create(
      name: "Account of \(email)", email: address, password: password,
      by: .other(Caller(actor: .command(name: "test"))))
  }

  /// Waits until all mails have been sent or given up.
  func waitForMails() async throws {
    try await eventually("no mail waits") { try await pool.query(CountWaitingMails()).first == 0 }
  }
}
