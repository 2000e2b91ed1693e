import ArgumentParser

@main
struct Latchkey: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "latchkey",
    abstract: "A self-hosted developer portal and API-key service that needs nothing but PostgreSQL.",
    discussion: """
      Every command reads the same configuration. Flags take precedence over environment variables, and these over a \
      .env file in the working directory. docs/CONFIGURATION.md lists every key. Exit status: 0 on success, 1 if the \
      command failed, 64 for wrong usage or configuration.
      """,
    version: "0.1.0",
    subcommands: [
      ServeCommand.self, MigrateCommand.self, AccountsCommand.self, PlansCommand.self, ApisCommand.self,
      PermissionsCommand.self, RolesCommand.self, LimitsCommand.self, StaffCommand.self, PeopleCommand.self,
      TokensCommand.self,
      KeysCommand.self, JobsCommand.self, AuditCommand.self, EpochCommand.self, DoctorCommand.self,
      CreditsCommand.self,
    ])
}
