import ArgumentParser
import Foundation
import JSON
import Portal
import PortalHTTP
import Postgres

extension StaffMember.Role: ExpressibleByArgument {}

struct StaffCommand: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "staff", abstract: "Manage the support staff.",
    subcommands: [
      List.self, Show.self, Create.self, SetRole.self, Disable.self, Enable.self, Remove.self, ResetSecondFactor.self,
    ])

  struct List: AsyncParsableCommand {
    static let configuration = CommandConfiguration(abstract: "List the members of staff, most recent first.")

    @OptionGroup var options: ConfigurationOptions
    @OptionGroup var pageOptions: PageOptions
    @OptionGroup var tableOptions: TableOptions

    func run() async throws {
      let configuration = try await options.load()
      try await reportingFailure {
        let listed = try await configuration.withStaff { staff in
          try await pageOptions.read { try await staff.list(page: $0) }
        }
        Output(isJSON: options.json).print(
          Self.table(listed.items), hasHeadings: tableOptions.hasHeadings,
          json: .object { json in
            json.array("staff", listed.items) { json, member in json.object { $0.fields(of: member) } }
            json.field("next", listed.next)
          })
        listed.tellNext()
      }
    }

    private static func table(_ staff: [StaffDetails]) -> Table {
      var table = Table(["ID", "ROLE", "STATUS", "SECOND FACTOR", "CREATED", "EMAIL", "NAME"])
      for found in staff {
        table.add([
          found.member.id.text, found.member.role.rawValue, found.status,
          found.secondFactorEnabledAt == nil ? "no" : "yes", Timestamp.text(of: found.createdAt), found.member.email,
          found.member.name,
        ])
      }
      return table
    }
  }

  struct Show: AsyncParsableCommand {
    static let configuration = CommandConfiguration(abstract: "Show a member of staff.")

    @OptionGroup var options: ConfigurationOptions
    @Argument(help: StaffReference.help, transform: StaffReference.init(argument:)) var member: StaffReference

    func run() async throws {
      let configuration = try await options.load()
      try await reportingFailure {
        let found = try await configuration.withStaff { try await $0.find(member) }
        Output(isJSON: options.json).print(
          Self.table(found), hasHeadings: false, json: .object { $0.fields(of: found) })
      }
    }

    private static func table(_ found: StaffDetails) -> Table {
      var table = Table(["", ""])
      table.add(["id", found.member.id.text])
      table.add(["name", found.member.name])
      table.add(["email", found.member.email])
      table.add(["role", found.member.role.rawValue])
      table.add(["status", found.status])
      table.add(["disabled", found.disabledAt.map { Timestamp.text(of: $0) }])
      table.add(["second factor", found.secondFactorEnabledAt.map { "since " + Timestamp.text(of: $0) } ?? "none"])
      table.add(["created", Timestamp.text(of: found.createdAt)])
      return table
    }
  }

  struct Create: AsyncParsableCommand {
    static let configuration = CommandConfiguration(abstract: "Create a member of staff.")

    @OptionGroup var options: ConfigurationOptions
    @OptionGroup var passwordOptions: PasswordOptions
    @Option(help: "The name that customers see in their audit trail.") var name: String
    @Option(help: "The e-mail address to log in with.") var email: String
    @Option(help: "The role: support or admin.") var role = StaffMember.Role.support

    func run() async throws {
      let configuration = try await options.load()
      let name = try ValidationError.check(name: name, Account.nameLengthMax)
      let address = try ValidationError.check(email: email)
      let (password, isGenerated) = try passwordOptions.read()
      try await reportingFailure {
        let member = try await PostgresPool.with(configuration.database.with(.portal)) { pool in
          try await Accounts(pool: pool, passwords: PasswordHasher(cost: configuration.settings.passwordCost))
            .createStaff(name: name, email: address, role: role, password: password, by: commandCaller)
        }
        let text = "staff \(member.id.text) \(member.email)"
        Output(isJSON: options.json).print(
          isGenerated ? text + ", password \(password.reveal())" : text,
          json: .object { json in
            json.field("id", member.id)
            json.field("name", member.name)
            json.field("email", member.email)
            json.field("role", member.role.rawValue)
            if isGenerated { json.field("password", password.reveal()) }
          })
      }
    }
  }

  struct SetRole: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
      commandName: "role", abstract: "Change the role of a member of staff, which ends their sessions.")

    @OptionGroup var options: ConfigurationOptions
    @Argument(help: StaffReference.help, transform: StaffReference.init(argument:)) var member: StaffReference
    @Argument(help: "The role: support or admin.") var role: StaffMember.Role

    func run() async throws {
      try await options.change(member) { staff, id in
        let changed = try await staff.update(id, StaffChanges(role: role), by: commandCaller)
        return (changed, "has the role \(role.rawValue)")
      }
    }
  }

  struct Disable: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
      abstract: "Log a member of staff out and prevent further logins.",
      discussion: "Their requests that await confirmation are withdrawn.")

    @OptionGroup var options: ConfigurationOptions
    @Argument(help: StaffReference.help, transform: StaffReference.init(argument:)) var member: StaffReference

    func run() async throws {
      try await options.change(member) { staff, id in
        (try await staff.update(id, StaffChanges(isEnabled: false), by: commandCaller), "is disabled")
      }
    }
  }

  struct Enable: AsyncParsableCommand {
    static let configuration = CommandConfiguration(abstract: "Let a member of staff log in again.")

    @OptionGroup var options: ConfigurationOptions
    @Argument(help: StaffReference.help, transform: StaffReference.init(argument:)) var member: StaffReference

    func run() async throws {
      try await options.change(member) { staff, id in
        (try await staff.update(id, StaffChanges(isEnabled: true), by: commandCaller), "is enabled")
      }
    }
  }

  struct Remove: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
      abstract: "Remove a member of staff permanently.",
      discussion:
        "Their name stays in the audit trails. The service tokens that they created remain valid: see latchkey tokens.")

    @OptionGroup var options: ConfigurationOptions
    @Argument(help: StaffReference.help, transform: StaffReference.init(argument:)) var member: StaffReference

    func run() async throws {
      try await options.change(member) { staff, id in
        let found = try await staff.find(id)
        try await staff.remove(id, by: commandCaller)
        return (found, "is removed")
      }
    }
  }

  struct ResetSecondFactor: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
      abstract: "Remove the second factor of a member of staff who has lost it.",
      discussion:
        "Verify their identity first. They can then log in with the password alone, and set up another second factor.")

    @OptionGroup var options: ConfigurationOptions
    @Argument(help: StaffReference.help, transform: StaffReference.init(argument:)) var member: StaffReference

    func run() async throws {
      try await options.change(member) { staff, id in
        try await staff.resetSecondFactor(id, by: commandCaller)
        return (try await staff.find(id), "has no second factor")
      }
    }
  }
}

/// A member of staff, named by id or e-mail address.
enum StaffReference: Sendable {
  static let help: ArgumentHelp = "The id or the e-mail address of the member of staff."

  case id(UUID)
  case email(EmailAddress)

  init(argument text: String) throws {
    if let id = UUID(uuidString: text) {
      self = .id(id)
    } else if let email = EmailAddress(text) {
      self = .email(email)
    } else {
      throw ValidationError("\(text) is neither a UUID nor an e-mail address.")
    }
  }
}

extension StaffMembers {
  fileprivate func find(_ reference: StaffReference) async throws -> StaffDetails {
    switch reference {
    case .id(let id): try await find(id)
    case .email(let email): try await find(email)
    }
  }
}

extension StaffDetails {
  fileprivate var status: String { isEnabled ? "enabled" : "disabled" }
}

extension PortalConfiguration {
  fileprivate func withStaff<Value: Sendable>(_ body: (StaffMembers) async throws -> Value) async throws -> Value {
    try await PostgresPool.with(database.with(.portal)) { try await body(StaffMembers(pool: $0)) }
  }
}

extension ConfigurationOptions {
  /// Changes a member of staff. `body` gets the id, and returns the changed member and the words to print.
  fileprivate func change(
    _ member: StaffReference, _ body: (StaffMembers, UUID) async throws -> (StaffDetails, String)
  ) async throws {
    let configuration = try await load()
    try await reportingFailure {
      let (changed, what) = try await configuration.withStaff { staff in
        try await body(staff, try await staff.find(member).member.id)
      }
      Output(isJSON: json).print(
        "staff \(changed.member.id.text) \(changed.member.email) \(what)", json: .object { $0.fields(of: changed) })
    }
  }
}
