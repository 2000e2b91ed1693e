import ArgumentParser

@main
struct Latchkey: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "latchkey",
    abstract: "A self-hosted developer portal and API-key service that needs nothing but PostgreSQL.",
    discussion: """
      Every command reads the same configuration: flags over environment variables over a .env file in the working \
      directory. docs/CONFIGURATION.md lists every key. Exit status: 0, 1 when the command failed, 64 when it was \
      called or configured wrongly.
      """,
    version: "0.1.0",
    subcommands: [
      ServeCommand.self, MigrateCommand.self, AccountsCommand.self, PlansCommand.self, StaffCommand.self,
      PeopleCommand.self, TokensCommand.self, KeysCommand.self, JobsCommand.self, AuditCommand.self,
      EpochCommand.self, DoctorCommand.self,
    ])
}
