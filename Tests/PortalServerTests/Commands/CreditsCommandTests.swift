import Foundation
import JSON
import PortalTesting
import Postgres
import PostgresTesting
import Testing

private struct CreditEvents: PostgresStatement {
  typealias Row = String
  static let sql = """
    select concat_ws(' ', actor_kind, actor_name, action, 'because ' || reason, detail) from audit_events
    where action like '%credits%' order by seq
    """
}

@Suite("latchkey credits")
struct CreditsCommandTests {
  @Test("an operator shows and changes the credits of an account, and states why")
  func account() async throws {
    try await withDatabase { database in
      let environment = ["DATABASE_URL": database.url, "PASSWORD_COST": "10", "USER": "olga"]
      func json(_ arguments: String...) async throws -> JSONValue {
        let result = try await latchkey(arguments + ["--json"], environment: environment)
        #expect(result.status == 0, "\(result.errors)")
        return try result.json()
      }
      let made = try await json("accounts", "create", "--name", "Acme", "--email", "ada@example.com")
      let id = try #require(made["id"].string)
      #expect(try await json("credits", "show", "--account", id)["credits"] == .null)
      let set = try await json(
        "credits", "set", "--account", id, "--remaining", "10", "--refill", "monthly", "--refill-amount", "20",
        "--refill-day", "31", "--reason", "sold")
      #expect(set["credits"]["remaining"].integer == 10 && set["credits"]["refill"]["day"].integer == 31)
      let more = try await json("credits", "set", "--account", id, "--increment", "5", "--reason", "goodwill")
      #expect(more["credits"]["remaining"].integer == 15)
      #expect(try await json("credits", "show", "--account", id)["credits"] == more["credits"])
      let shown = try await latchkey(["credits", "show", "--account", id], environment: environment)
      #expect(shown.output.contains("15") && shown.output.contains("to 20, monthly on day 31"))
      #expect(try await json("credits", "forgive", "--after", "600")["forgiven"].integer == 0)
      let unlimited = try await json("credits", "set", "--account", id, "--unlimited", "--reason", "sold")
      #expect(unlimited["credits"] == .null)
      let refused = try await latchkey(
        ["credits", "set", "--account", id, "--decrement", "1", "--reason", "why"], environment: environment)
      #expect(refused.status == 1 && refused.errors.contains("unlimited"))
      let events = try await PostgresPool.with(database.configuration) { try await $0.query(CreditEvents()) }
      #expect(
        events == [
          "command olga account.credits_changed because sold set to 10, refill to 20 on day 31 of the month",
          "command olga account.credits_changed because goodwill increment by 5",
          "command olga account.credits_changed because sold unlimited",
        ])
    }
  }

  @Test(
    "wrong usage is refused before anything is done",
    arguments: [
      ["show"], ["set", "--key", "1", "--remaining", "1"], ["forgive"], ["forgive", "--after", "59"],
      ["set", "--remaining", "1", "--increment", "1"], ["set", "--remaining", "-1"], ["set", "--refill", "daily"],
      ["set", "--remaining", "1", "--refill", "daily", "--refill-amount", "1", "--refill-day", "1"],
      ["set", "--refill", "monthly", "--refill-amount", "1", "--refill-day", "32"],
      ["set", "--unlimited", "--remaining", "1"], ["set", "--no-refill", "--refill", "daily", "--refill-amount", "1"],
    ])
  func usage(_ arguments: [String]) async throws {
    let owner =
      arguments == ["show"] || arguments.contains("--key") || arguments[0] == "forgive"
      ? [] : ["--account", UUID().uuidString, "--reason", "because"]
    let result = try await latchkey(
      ["credits"] + arguments + owner, environment: ["DATABASE_URL": "host=/nowhere"])
    #expect(result.status == 64, "\(arguments): \(result.errors)")
  }
}
