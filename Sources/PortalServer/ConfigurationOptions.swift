import ArgumentParser
import Configuration
import SystemPackage

/// The options of every command. None has a default, because it would take precedence over the environment.
struct ConfigurationOptions: ParsableArguments {
  @Option(
    help: ArgumentHelp("The libpq connection string or URI of the database. Default: DATABASE_URL.", valueName: "url"))
  var databaseURL: String?

  @Option(
    help: ArgumentHelp(
      "The minimum level of log messages: trace, debug, info, notice, warning, error or critical. Default: LOG_LEVEL, "
        + "or info.",
      valueName: "level"))
  var logLevel: String?

  @Flag(help: "Print one JSON object instead of text.")
  var json = false

  var values: [String: String?] {
    ["database.url": databaseURL, "log.level": logLevel]
  }

  /// Reads the configuration. `more` and the flags take precedence over the environment, and that over `.env`.
  func load(_ more: [String: String?] = [:]) async throws -> PortalConfiguration {
    let flags = values.merging(more) { one, _ in one }.compactMapValues { $0 }
    let arguments = InMemoryProvider(
      name: "arguments",
      values: Dictionary(
        uniqueKeysWithValues: flags.map { (AbsoluteConfigKey(ConfigKey($0.key)), ConfigValue(stringLiteral: $0.value)) }
      ))
    let secrets = SecretsSpecifier<String, String>.specific([
      "DATABASE_URL", "DATABASE_LISTENER_URL", "ANALYTICS_DATABASE_URL", "MAIL_URL", "SECRET_KEY",
      "SECRET_KEY_PREVIOUS", "METRICS_TOKEN",
    ])
    let reader = ConfigReader(providers: [
      arguments,
      EnvironmentVariablesProvider(secretsSpecifier: secrets),
      try await EnvironmentVariablesProvider(
        environmentFilePath: ".env", allowMissing: true, secretsSpecifier: secrets),
    ])
    return try PortalConfiguration(reader)
  }
}
