import ArgumentParser
import Foundation
import JSON
import Portal
import PortalHTTP
import Postgres

extension RateLimitMode: ExpressibleByArgument {}

struct AccountsCommand: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "accounts", abstract: "Manage customers' accounts.",
    subcommands: [List.self, Show.self, Create.self, Limit.self, AssignPlan.self])

  struct List: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
      abstract: "List the accounts, most recent first.", discussion: "If several filters are given, all must match.")

    @OptionGroup var options: ConfigurationOptions
    @OptionGroup var pageOptions: PageOptions
    @OptionGroup var tableOptions: TableOptions
    @Option(help: "Only accounts with a member of this e-mail address.") var email: String?
    @Option(
      help: """
        Only accounts whose names contain this text, ignoring case; \
        \(AccountSearch.partLengthMin) to \(Account.nameLengthMax) characters.
        """)
    var name: String?

    func validate() throws {
      if let email { _ = try ValidationError.check(email: email) }
      let length = AccountSearch.partLengthMin...Account.nameLengthMax
      if let name, !length.contains(name.unicodeScalars.count) || name.utf8.contains(0) {
        throw ValidationError("--name must have \(length.lowerBound) to \(length.upperBound) characters.")
      }
    }

    func run() async throws {
      let configuration = try await options.load()
      let search = AccountSearch(email: try email.map { try ValidationError.check(email: $0) }, name: name)
      try await reportingFailure {
        let listed = try await configuration.withDesk { desk in
          try await pageOptions.read { try await desk.search(search, page: $0) }
        }
        Output(isJSON: options.json).print(
          Self.table(listed.items), hasHeadings: tableOptions.hasHeadings,
          json: .object { json in
            json.array("accounts", listed.items) { json, found in json.object { $0.fields(of: found) } }
            json.field("next", listed.next)
          })
        listed.tellNext()
      }
    }

    private static func table(_ accounts: [FoundAccount]) -> Table {
      var table = Table(["ID", "STATUS", "PLAN", .number("KEYS"), .number("MEMBERS"), "CREATED", "NAME"])
      for found in accounts {
        table.add([
          found.account.id.text, found.status, found.account.plan.name, "\(found.keys.live)", "\(found.memberCount)",
          Timestamp.text(of: found.createdAt), found.account.name,
        ])
      }
      return table
    }
  }

  struct Show: AsyncParsableCommand {
    static let configuration = CommandConfiguration(abstract: "Show an account with its members.")

    @OptionGroup var options: ConfigurationOptions
    @Argument(help: "The account's id.", transform: ValidationError.parse(id:)) var id: UUID

    func run() async throws {
      let configuration = try await options.load()
      try await reportingFailure {
        let found = try await configuration.withDesk { desk in
          guard let found = try await desk.search(AccountSearch(id: id)).first else { throw PortalError.notFound }
          return found
        }
        Output(isJSON: options.json).print(
          Self.table(found), hasHeadings: false, json: .object { $0.fields(of: found) })
      }
    }

    private static func table(_ found: FoundAccount) -> Table {
      var table = Table(["", ""])
      table.add(["id", found.account.id.text])
      table.add(["name", found.account.name])
      table.add(["status", found.status])
      table.add(["suspension", found.suspensionReason])
      table.add(["plan", found.account.plan.name])
      table.add(["created", Timestamp.text(of: found.createdAt)])
      table.add(["keys", "\(found.keys.live) live, \(found.keys.unrevoked) not revoked, \(found.keys.total) in all"])
      for member in found.members { table.add(["member", "\(member.user.email), \(member.role.rawValue)"]) }
      if found.memberCount > found.members.count {
        table.add(["members", "\(found.memberCount) in all"])
      }
      return table
    }
  }

  struct Create: AsyncParsableCommand {
    static let configuration = CommandConfiguration(abstract: "Create an account with its owner.")

    @OptionGroup var options: ConfigurationOptions
    @OptionGroup var passwordOptions: PasswordOptions
    @Option(help: "The account's name.") var name: String
    @Option(help: "The owner's e-mail address.") var email: String

    func run() async throws {
      let configuration = try await options.load()
      let name = try ValidationError.check(name: name, Account.nameLengthMax)
      let address = try ValidationError.check(email: email)
      let (password, isGenerated) = try passwordOptions.read()
      try await reportingFailure {
        let (id, user) = try await PostgresPool.with(configuration.database.with(.portal)) { pool in
          try await Accounts(pool: pool, passwords: PasswordHasher(cost: configuration.settings.passwordCost))
            .create(name: name, email: address, password: password, by: .other(commandCaller))
        }
        let text = "account \(id.text) with owner \(user.email)"
        Output(isJSON: options.json).print(
          isGenerated ? text + ", password \(password.reveal())" : text,
          json: .object { json in
            json.field("id", id)
            json.field("name", name)
            json.object("user") { $0.fields(of: user) }
            if isGenerated { json.field("password", password.reveal()) }
          })
      }
    }
  }

  struct Limit: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
      abstract: "Set the rate limit that the keys of an account share.",
      discussion:
        "It applies in addition to the limits of each key, and takes effect on every instance within milliseconds.")

    @OptionGroup var options: ConfigurationOptions
    @Argument(help: "The account's id.", transform: ValidationError.parse(id:)) var id: UUID
    @Option(help: "The cost allowed per minute, 1 to \(RateLimit.limitMax). By default, the limit is removed.")
    var perMinute: Int?
    @Option(
      help: "fast: each instance decides. consistent: PostgreSQL decides, which is slower but never exceeds the limit.")
    var mode = RateLimitMode.fast

    func run() async throws {
      let configuration = try await options.load()
      if let perMinute, !(1...RateLimit.limitMax).contains(perMinute) {
        throw ValidationError("--per-minute must be a whole number from 1 to \(RateLimit.limitMax).")
      }
      try await reportingFailure {
        try await PostgresPool.with(configuration.database.with(.portal)) { pool in
          try await Accounts(pool: pool, passwords: PasswordHasher(cost: configuration.settings.passwordCost))
            .setSharedLimit(perMinute, mode, of: id, by: commandCaller)
        }
        Output(isJSON: options.json).print(
          perMinute.map { "account \(id.text) has \($0) per minute" } ?? "account \(id.text) has no shared limit",
          json: .object { json in
            json.field("id", id)
            json.field("limitPerMinute", perMinute)
            json.field("mode", mode.rawValue)
          })
      }
    }
  }

  struct AssignPlan: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
      commandName: "plan", abstract: "Assign a plan to an account.",
      discussion:
        "The plan takes effect immediately on every instance. The customer sees the reason in the audit trail.")

    @OptionGroup var options: ConfigurationOptions
    @Argument(help: "The account's id.", transform: ValidationError.parse(id:)) var id: UUID
    @Argument(help: "The plan's name, as listed by latchkey plans.") var plan: String
    @Option(help: "The reason, 3 to 500 characters.") var reason: String
    @Option(help: "The ticket in which it was requested.") var ticket: String?

    func run() async throws {
      let configuration = try await options.load()
      let reason = try ValidationError.check(reason: reason, ticket: ticket)
      try await reportingFailure {
        let (account, propagation) = try await PostgresPool.with(configuration.database.with(.portal)) { pool in
          do {
            return try await Plans(pool: pool, propagations: Propagations(pool: pool))
              .assign(plan, to: id, by: commandCaller, reason)
          } catch PortalError.invalid {
            throw CommandFailure(description: "there is no plan \(plan); latchkey plans lists them")
          }
        }
        Output(isJSON: options.json).print(
          "account \(account.id.text) has the plan \(account.plan.name)",
          json: .object { $0.fields(ofPlanOf: account, propagation) })
      }
    }
  }
}

extension FoundAccount {
  fileprivate var status: String { account.suspendedAt == nil ? "active" : "suspended" }
}
