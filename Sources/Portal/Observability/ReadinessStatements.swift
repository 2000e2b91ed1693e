import Postgres

struct CountMigrations: PostgresStatement {
  static let sql = "select count(*) from schema_migrations"
  static func decode(_ row: inout PostgresRow) throws(PostgresError) -> Int { try row.next() }
}
