import Postgres

/// The number of migrations in the database, and the first that a version with `count` of them does not work with.
struct CompareMigrations: PostgresStatement {
  static let sql = """
    select count(*), min(name) filter (where number > $1 and compatible_from > $1) from schema_migrations
    """
  let count: Int
  func bind(_ bindings: inout PostgresBindings) { bindings.append(count) }
  static func decode(_ row: inout PostgresRow) throws(PostgresError) -> (count: Int, incompatible: String?) {
    (try row.next(), try row.next())
  }
}
