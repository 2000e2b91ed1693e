import ArgumentParser
import Portal
import PortalHTTP
import Postgres

struct AccountsCommand: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "accounts", abstract: "Manage customers' accounts.", subcommands: [Create.self])

  struct Create: AsyncParsableCommand {
    static let configuration = CommandConfiguration(abstract: "Make an account with its owner.")

    @OptionGroup var options: ConfigurationOptions
    @OptionGroup var passwordOptions: PasswordOptions
    @Option(help: "The account's name.") var name: String
    @Option(help: "The owner's e-mail address.") var email: String

    func run() async throws {
      let configuration = try await options.load()
      try ValidationError.check(name: name, Account.nameLengthMax)
      let address = try ValidationError.check(email: email)
      let (password, isGenerated) = try passwordOptions.read()
      try await reportingFailure {
        let (id, user) = try await PostgresPool.with(configuration.database) { pool in
          try await Accounts(pool: pool, passwords: PasswordHasher(cost: configuration.passwordCost))
            .create(name: name, email: address, password: password, by: .other(commandCaller))
        }
        let text = "account \(id.text) with owner \(user.email)"
        Output(isJSON: options.json).print(
          isGenerated ? text + ", password \(password.reveal())" : text,
          json: .object { json in
            json.field("id", id)
            json.field("name", name)
            json.object("user") {
              $0.field("id", user.id)
              $0.field("email", user.email)
            }
            if isGenerated { json.field("password", password.reveal()) }
          })
      }
    }
  }
}
