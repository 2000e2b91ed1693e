import ArgumentParser
import PortalHTTP
import Postgres

struct MigrateCommand: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "migrate", abstract: "Apply the pending migrations, each in a transaction of its own.",
    discussion: "Safe to run from several places at once: they take turns. Does nothing when all are applied.")

  @OptionGroup var options: ConfigurationOptions

  func run() async throws {
    let configuration = try await options.load()
    try await reportingFailure {
      let migrations = try Migrations(folder: configuration.migrationsFolder)
      let applied = try await PostgresPool.with(configuration.database) { pool in
        try await migrations.apply(on: pool)
      }
      Output(isJSON: options.json).print(
        applied.isEmpty ? "The database is up to date." : applied.map { "applied \($0)" }.joined(separator: "\n"),
        json: .object { $0.field("applied", applied) })
    }
  }
}
