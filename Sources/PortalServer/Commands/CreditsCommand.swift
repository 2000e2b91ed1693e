import ArgumentParser
import Foundation
import JSON
import Portal
import PortalAPI
import PortalApplication
import Postgres

struct CreditsCommand: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "credits", abstract: "Manage the credits of keys and accounts.",
    subcommands: [Show.self, Set.self, Forgive.self])

  struct Show: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
      abstract: "Show what is left of a key's or an account's credits.",
      discussion: "Asks the servers what they have spent up to now.")

    @OptionGroup var options: ConfigurationOptions
    @OptionGroup var owner: OwnerOptions

    func run() async throws {
      let configuration = try await options.load()
      let owner = try owner.owner
      try await reportingFailure {
        let balance = try await configuration.withCredits { credits, _ in
          try await credits.find(of: owner, by: commandCaller)
        }
        Output(isJSON: options.json).print(
          CreditsCommand.table(balance), hasHeadings: false, json: .object { $0.credits(balance) })
      }
    }
  }

  struct Set: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
      abstract: "Change a key's or an account's credits.",
      discussion: "What is not given stays. The customer sees the reason in the audit trail.")

    @OptionGroup var options: ConfigurationOptions
    @OptionGroup var owner: OwnerOptions
    @OptionGroup var change: ChangeOptions
    @Option(help: "The reason, 3 to 500 characters.") var reason: String
    @Option(help: "The ticket in which it was requested.") var ticket: String?

    func run() async throws {
      let configuration = try await options.load()
      let (owner, change) = (try owner.owner, try change.change)
      let reason = try ValidationError.check(reason: reason, ticket: ticket)
      try await reportingFailure {
        let (balance, propagation) = try await configuration.withCredits { credits, pool in
          let start = ContinuousClock.now
          let accountID = try await credits.settledAccountID(of: owner, by: commandCaller)
          let balance = try await pool.withTransaction(as: .account(accountID)) {
            try await credits.change(change, of: owner, in: accountID, by: commandCaller, reason, on: $0)
          }
          return (balance, await credits.propagation(since: start))
        }
        Output(isJSON: options.json).print(
          CreditsCommand.table(balance), hasHeadings: false,
          json: .object { json in
            json.credits(balance)
            json.propagation(propagation)
          })
      }
    }
  }

  struct Forgive: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
      abstract: "Take back the credits that servers have set aside which were not heard of for a time.",
      discussion: """
        The job credits does this after CREDITS_FORGIVE_AFTER_SECONDS. If such a server is running and only cut off, \
        what it has set aside can be used twice.
        """)

    @OptionGroup var options: ConfigurationOptions
    @Option(help: "How long a server must not have been heard of, in seconds.") var after: Int

    func validate() throws {
      let range = CreditSilence.secondsRange
      guard range.contains(after) else {
        throw ValidationError("--after must be a whole number from \(range.lowerBound) to \(range.upperBound).")
      }
    }

    func run() async throws {
      let configuration = try await options.load()
      try await reportingFailure {
        let count = try await configuration.withCredits { credits, _ in
          try await credits.forgive(CreditSilence(seconds: after, runCount: 0), by: commandCaller)
        }
        Output(isJSON: options.json).print("forgiven: \(count)", json: .object { $0.field("forgiven", count) })
      }
    }
  }

  /// The key or the account.
  struct OwnerOptions: ParsableArguments {
    @Option(help: ArgumentHelp("The key.", valueName: "id"), transform: ValidationError.parse(id:)) var key: UUID?
    @Option(help: ArgumentHelp("The account.", valueName: "id"), transform: ValidationError.parse(id:))
    var account: UUID?

    func validate() throws { _ = try owner }

    var owner: CreditOwner {
      get throws {
        switch (key, account) {
        case (let key?, nil): .key(key)
        case (nil, let account?): .account(account)
        default: throw ValidationError("Give either --key or --account.")
        }
      }
    }
  }

  /// A change of a balance, of its refills, or of both.
  struct ChangeOptions: ParsableArguments {
    @Option(help: "The new balance.") var remaining: Int?
    @Option(help: "How much to add.") var increment: Int?
    @Option(help: "How much to take away, down to 0.") var decrement: Int?
    @Flag(help: "Any number of requests, without credits.") var unlimited = false
    @Option(help: "When the balance is refilled: daily or monthly, at 00:00 UTC.") var refill: Interval?
    @Option(help: "What the balance is raised to by a refill.") var refillAmount: Int?
    @Option(help: "The day of monthly refills, 1 to 31; in a shorter month, its last day. Default: 1.")
    var refillDay: Int?
    @Flag(help: "No refills.") var noRefill = false

    enum Interval: String, CaseIterable, ExpressibleByArgument { case daily, monthly }

    func validate() throws { _ = try change }

    var change: CreditChange {
      get throws {
        for (name, amount, least) in [
          ("--remaining", remaining, 0), ("--increment", increment, 1), ("--decrement", decrement, 1),
          ("--refill-amount", refillAmount, 1),
        ] {
          if let amount, !(least...CreditBalance.amountMax).contains(amount) {
            throw ValidationError("\(name) must be a whole number from \(least) to \(CreditBalance.amountMax).")
          }
        }
        let (refill, hasRefill) = (try refillChange, refill != nil || noRefill)
        switch (remaining, increment, decrement, unlimited, hasRefill) {
        case (nil, nil, nil, true, false): return .unlimited
        case (nil, let amount?, nil, false, false): return .increment(amount)
        case (nil, nil, let amount?, false, false): return .decrement(amount)
        case (let remaining?, nil, nil, false, _): return .settings(remaining: remaining, refill: refill)
        case (nil, nil, nil, false, true): return .settings(remaining: nil, refill: refill)
        default:
          throw ValidationError(
            "Give --increment, --decrement or --unlimited, or else --remaining, --refill or --no-refill.")
        }
      }
    }

    private var refillChange: OptionalChange<CreditRefill> {
      get throws {
        let days = CreditRefill.dayOfMonthRange
        if let refillDay, !days.contains(refillDay) {
          throw ValidationError("--refill-day must be a whole number from \(days.lowerBound) to \(days.upperBound).")
        }
        switch (refill, refillAmount, noRefill) {
        case (nil, nil, let isNone) where refillDay == nil: return isNone ? .remove : .keep
        case (.daily, let amount?, false) where refillDay == nil: return .set(CreditRefill(.daily, amount: amount))
        case (.monthly, let amount?, false):
          return .set(CreditRefill(.monthly(day: refillDay ?? 1), amount: amount))
        default:
          throw ValidationError("Give --refill with --refill-amount, and --refill-day only with --refill monthly.")
        }
      }
    }
  }

  private static func table(_ balance: CreditBalance?) -> Table {
    var table = Table(["", ""])
    guard let balance else {
      table.add(["remaining", "unlimited"])
      return table
    }
    table.add(["remaining", "\(balance.remaining)"])
    if balance.held > 0 { table.add(["held", "\(balance.held), by servers that do not answer"]) }
    if let refill = balance.refill {
      let day = refill.day.map { " on day \($0)" } ?? ""
      table.add(["refill", "to \(refill.amount), \(refill.intervalName)\(day)"])
      table.add(["next refill", balance.refillAt.map { Timestamp.text(of: $0) } ?? "never"])
    }
    return table
  }
}

extension PortalConfiguration {
  /// Calls `body` with the operations on credits, and the pool for transactions.
  fileprivate func withCredits<Value: Sendable>(
    _ body: (Credits, PostgresPool) async throws -> Value
  ) async throws -> Value {
    try await PostgresPool.with(database.with(.portal)) { pool in
      let keys = Keys(pool: pool, format: settings.keyFormat, propagations: Propagations(pool: pool))
      return try await body(Credits(pool: pool, keys: keys), pool)
    }
  }
}
