import ArgumentParser
import JSON
import Portal
import PortalAPI
import PortalHTTP
import Postgres

struct PlansCommand: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "plans", abstract: "Manage the plans, which limit the keys of accounts.",
    subcommands: [List.self, Set.self],
    defaultSubcommand: List.self)

  struct List: AsyncParsableCommand {
    static let configuration = CommandConfiguration(abstract: "List the plans.")

    @OptionGroup var options: ConfigurationOptions
    @OptionGroup var tableOptions: TableOptions

    func run() async throws {
      let configuration = try await options.load()
      try await reportingFailure {
        let plans = try await PostgresPool.with(configuration.database.with(.portal)) { pool in
          try await Plans(pool: pool, propagations: Propagations(pool: pool)).list()
        }
        Output(isJSON: options.json).print(
          PlansCommand.table(plans), hasHeadings: tableOptions.hasHeadings,
          json: .object { json in
            json.array("plans", plans) { json, plan in json.object { $0.fields(of: plan) } }
          })
      }
    }
  }

  private static func table(_ plans: [Plan]) -> Table {
    var table = Table([
      "NAME", .number("KEYS"), .number("PER MINUTE"), .number("DAYS"), .number("APIS"), .number("ROLES"), "SCOPES",
    ])
    for plan in plans {
      table.add([
        plan.name, plan.keyCap.map { "\($0)" }, plan.rateLimitPerMinuteMax.map { "\($0)" },
        plan.maxKeyLifetimeDays.map { "\($0)" }, plan.apiIDs.map { "\($0.count)" } ?? "all",
        "\(plan.roleIDs.count)", plan.scopes.joined(separator: " "),
      ])
    }
    return table
  }

  struct Set: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
      abstract: "Create a plan, or change the plan with this name.",
      discussion: "A lowered limit takes effect immediately on every instance, for existing keys too.")

    @OptionGroup var options: ConfigurationOptions
    @Argument(help: "The plan's name.") var name: String
    @Option(help: "The maximum number of live keys per account, 1 to \(Plan.keyCapMax), or none.") var keyCap: Maximum
    @Option(
      name: .customLong("scope"), help: "A pattern of the scopes that keys may have: a:b, a:* or *; can be repeated.")
    var scopes: [String]
    @Option(help: "The maximum number of requests per minute and key, 1 to \(Key.rateLimitPerMinuteMax), or none.")
    var perMinuteMax: Maximum
    @Option(help: "The maximum lifetime of a key, in days. By default, it is unlimited.") var maxLifetimeDays: Int?
    @Option(
      name: .customLong("api"), help: "An api that keys may be for, by id or slug; can be repeated. By default, all.",
      transform: ValidationError.parse(catalog:))
    var apis: [CatalogReference] = []
    @Option(
      name: .customLong("role"), help: "A role that keys have in addition, by id or name; can be repeated.",
      transform: ValidationError.parse(catalog:))
    var roles: [CatalogReference] = []

    func validate() throws {
      guard Plan.isValid(name: name) else { throw ValidationError("NAME must match \(Plan.namePattern).") }
      guard (1...Plan.keyCapMax).contains(keyCap.value ?? 1) else {
        throw ValidationError("--key-cap must be none or a whole number from 1 to \(Plan.keyCapMax).")
      }
      guard (1...Scope.countMax).contains(scopes.count), scopes.allSatisfy(Scope.isPattern) else {
        throw ValidationError("--scope must be * or match ^[a-z0-9][a-z0-9:._*-]{0,63}$, 1 to \(Scope.countMax) times.")
      }
      guard (1...Key.rateLimitPerMinuteMax).contains(perMinuteMax.value ?? 1) else {
        throw ValidationError(
          "--per-minute-max must be none or a whole number from 1 to \(Key.rateLimitPerMinuteMax).")
      }
      guard apis.count <= Plan.apiCountMax, roles.count <= Plan.roleCountMax else {
        throw ValidationError(
          "--api can be given at most \(Plan.apiCountMax) times, and --role \(Plan.roleCountMax) times.")
      }
      guard (1...KeyPolicy.lifetimeDaysMax).contains(maxLifetimeDays ?? 1) else {
        throw ValidationError("--max-lifetime-days must be a whole number from 1 to \(KeyPolicy.lifetimeDaysMax).")
      }
    }

    func run() async throws {
      let configuration = try await options.load()
      let plan = Plan(
        name: name, keyCap: keyCap.value, scopes: scopes, rateLimitPerMinuteMax: perMinuteMax.value,
        maxKeyLifetimeDays: maxLifetimeDays)
      try await reportingFailure {
        let (set, propagation) = try await PostgresPool.with(configuration.database.with(.portal)) { pool in
          try await Plans(pool: pool, propagations: Propagations(pool: pool)).set(
            plan, apis: apis.isEmpty ? nil : apis, roles: roles, by: commandCaller)
        }
        Output(isJSON: options.json).print(
          "plan " + set.text,
          json: .object { $0.fields(of: set, propagation) })
      }
    }
  }
}

/// A whole number, or `none`.
struct Maximum: ExpressibleByArgument {
  let value: Int?

  init?(argument: String) {
    value = Int(argument)
    guard value != nil || argument == "none" else { return nil }
  }
}

extension Plan {
  fileprivate var text: String {
    let keys = keyCap.map { "\($0)" } ?? "any number of"
    let perMinute = rateLimitPerMinuteMax.map { "\($0)" } ?? "any number"
    let lifetime = maxKeyLifetimeDays.map { ", \($0) days" } ?? ""
    let apis = apiIDs.map { ", \($0.count) apis" } ?? ""
    let roles = roleIDs.isEmpty ? "" : ", \(roleIDs.count) roles"
    return "\(name): \(keys) keys, \(perMinute) per minute\(lifetime)\(apis)\(roles), \(scopes.joined(separator: " "))"
  }
}
