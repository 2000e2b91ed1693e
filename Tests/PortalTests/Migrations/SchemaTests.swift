import Foundation
import PortalTesting
import Postgres
import PostgresTesting
import Testing

/// Other versions of pg_dump write the same schema differently.
private func hasDocumentedVersion() async throws -> Bool {
  try await PostgresPool.with(PostgresConfiguration(url: serverURL())) {
    try await $0.number("select current_setting('server_version_num')::integer / 10000") == 15
  }
}

@Suite("The schema's document")
struct SchemaTests {
  @Test(
    "docs/schema.sql is what the migrations create; scripts/schema writes it",
    .enabled("it was written by PostgreSQL 15") { try await hasDocumentedVersion() })
  func document() async throws {
    try await withDatabase { database in
      let printed = try await run(repositoryRoot + "/scripts/schema", ["--print", database.url])
      #expect(printed.status == 0, "\(printed.errors)")
      let kept = try String(contentsOfFile: repositoryRoot + "/docs/schema.sql", encoding: .utf8)
      #expect(printed.output == kept, "run scripts/schema")
    }
  }
}
