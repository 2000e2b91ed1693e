import ArgumentParser
import Foundation

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

  static func main() async {
    var command: any ParsableCommand
    do { command = try parseAsRoot() } catch { exit(withError: error) }
    do {
      if var asyncCommand = command as? any AsyncParsableCommand {
        try await asyncCommand.run()
      } else {
        try command.run()
      }
    } catch let error as ValidationError {
      exit(withError: error, of: type(of: command))
    } catch {
      exit(withError: error)
    }
  }

  /// As the library reports what it refuses itself. What a command refuses while it runs, the library would report with
  /// the usage of the whole program.
  private static func exit(withError error: ValidationError, of command: any ParsableCommand.Type) -> Never {
    let usage = usageString(for: command)
    let name = usage.split(separator: " ").prefix { !"<[-".contains($0.first ?? "<") }.joined(separator: " ")
    let text = """
      Error: \(error.message)
      Usage: \(usage)
        See '\(name) --help' for more information.

      """
    FileHandle.standardError.write(Data(text.utf8))
    exit(withError: ExitCode.validationFailure)
  }
}
