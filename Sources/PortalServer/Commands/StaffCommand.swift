import ArgumentParser
import Portal
import PortalHTTP
import Postgres

extension StaffMember.Role: ExpressibleByArgument {}

struct StaffCommand: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "staff", abstract: "Manage the people who support customers.", subcommands: [Create.self])

  struct Create: AsyncParsableCommand {
    static let configuration = CommandConfiguration(abstract: "Make a member of staff.")

    @OptionGroup var options: ConfigurationOptions
    @OptionGroup var passwordOptions: PasswordOptions
    @Option(help: "The name that customers read in their audit trail.") var name: String
    @Option(help: "The e-mail address to log in with.") var email: String
    @Option(help: "support or admin.") var role = StaffMember.Role.support

    func run() async throws {
      let configuration = try await options.load()
      let name = try ValidationError.check(name: name, Account.nameLengthMax)
      let address = try ValidationError.check(email: email)
      let (password, isGenerated) = try passwordOptions.read()
      try await reportingFailure {
        let member = try await PostgresPool.with(configuration.database.with(.portal)) { pool in
          try await Accounts(pool: pool, passwords: PasswordHasher(cost: configuration.passwordCost))
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
}
