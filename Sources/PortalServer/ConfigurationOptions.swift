import ArgumentParser
import Configuration
import SystemPackage

/// The options of every command. None has a default, because it would take precedence over the environment.
struct SettingsOptions: ParsableArguments {
  @Option(
    help: ArgumentHelp("The libpq connection string or URI of the database. Default: DATABASE_URL.", valueName: "url"))
  var databaseURL: String?

  @Option(
    help: ArgumentHelp(
      "The minimum level of log messages: trace, debug, info, notice, warning, error or critical. Default: LOG_LEVEL, "
        + "or info.",
      valueName: "level"))
  var logLevel: String?

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

/// The options of every command that prints text, or JSON on demand.
struct ConfigurationOptions: ParsableArguments {
  @OptionGroup var settings: SettingsOptions

  @Flag(help: "Print one JSON object instead of text.")
  var json = false

  /// As ``SettingsOptions/load(_:)``.
  func load(_ more: [String: String?] = [:]) async throws -> PortalConfiguration { try await settings.load(more) }
}

/// Where a server listens, and what its address is.
struct ListenerOptions: ParsableArguments {
  @Option(help: ArgumentHelp("The address to listen on. Default: HTTP_HOST, or 127.0.0.1.", valueName: "host"))
  var httpHost: String?

  @Option(help: ArgumentHelp("The port to listen on. Default: HTTP_PORT, or 8080.", valueName: "port"))
  var httpPort: String?

  @Option(
    help: ArgumentHelp(
      "The unix socket to listen on instead of host and port. Default: HTTP_SOCKET.", valueName: "path"))
  var httpSocket: String?

  @Option(
    help: ArgumentHelp(
      "The URL of the portal as browsers see it. Default: PUBLIC_URL, or 127.0.0.1 with the port.", valueName: "url"))
  var publicURL: String?

  var values: [String: String?] {
    ["http.host": httpHost, "http.port": httpPort, "http.socket": httpSocket, "public.url": publicURL]
  }
}
