/// Held until its connection closes.
struct LockMigrations: PostgresStatement {
  static let sql = "select pg_advisory_lock($1) is null"
  let key: Int
  func bind(_ bindings: inout PostgresBindings) { bindings.append(key) }
}

struct CreateMigrationsTable: PostgresStatement {
  static let sql = """
    create table if not exists schema_migrations (
      number integer constraint schema_migrations_pkey primary key,
      name text not null,
      checksum text not null,
      applied_at timestamptz not null default now()
    )
    """
}

struct FindMigrationsTable: PostgresStatement {
  static let sql = "select to_regclass('schema_migrations') is not null"
  static func decode(_ row: inout PostgresRow) throws(PostgresError) -> Bool { try row.next() }
}

struct ListMigrations: PostgresStatement {
  static let sql = "select number, name, checksum from schema_migrations order by number"
  static func decode(_ row: inout PostgresRow) throws(PostgresError) -> Migrations.Applied {
    Migrations.Applied(number: try row.next(), name: try row.next(), checksum: try row.next())
  }
}

/// The server's md5 of each text: against accidents, not attackers, who would hold the database already.
struct ChecksumTexts: PostgresStatement {
  static let sql =
    "select md5(text) from unnest($1::text[]) with ordinality as files (text, position) order by position"
  let texts: [String]
  func bind(_ bindings: inout PostgresBindings) { bindings.append(texts) }
  static func decode(_ row: inout PostgresRow) throws(PostgresError) -> String { try row.next() }
}
