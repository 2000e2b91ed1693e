import Testing

@testable import Postgres

@Suite("What libpq is told")
struct OpenedConnectionTests {
  private func parameters(_ url: String) -> [String: String] {
    Dictionary(OpenedConnection.parameters(PostgresConfiguration(url: url)), uniquingKeysWith: { $1 })
  }

  @Test("a server that falls silent is noticed within seconds, unless the connection string says otherwise")
  func deadlines() {
    let ours = parameters("host=db.example.com dbname=latchkey")
    #expect(ours["connect_timeout"] == "3")
    #expect(ours["tcp_user_timeout"] == "5000")
    #expect(ours["dbname"] == "host=db.example.com dbname=latchkey")
    for url in [
      "postgres://db.example.com/latchkey?connect_timeout=9&tcp_user_timeout=700",
      "host=db.example.com connect_timeout = 9 tcp_user_timeout='700'",
    ] {
      let theirs = parameters(url)
      #expect(theirs["connect_timeout"] == nil && theirs["tcp_user_timeout"] == nil)
      #expect(theirs["keepalives_idle"] == "15")
      #expect(theirs["dbname"] == url)
    }
  }

  @Test("a word in a password or a host is no keyword")
  func noKeywords() {
    let found = parameters("host=db.example.com password='connect_timeout=9 tcp_user_timeout=9'")
    #expect(found["connect_timeout"] == "3")
    #expect(found["tcp_user_timeout"] == "5000")
  }

  @Test("a connection string that libpq cannot read keeps our defaults, and is refused when it is used")
  func unreadable() async throws {
    #expect(parameters("nonsense")["connect_timeout"] == "3")
  }
}
