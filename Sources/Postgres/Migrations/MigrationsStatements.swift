/// False if another connection holds it.
struct TryLockMigrations: PostgresStatement {
  static let sql = "select pg_try_advisory_lock($1)"
  let key: Int
  func bind(_ bindings: inout PostgresBindings) { bindings.append(key) }
  static func decode(_ row: inout PostgresRow) throws(PostgresError) -> Bool { try row.next() }
}

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
      applied_at timestamptz not null default now(),
      compatible_from integer not null
    )
    """
}

struct FindMigrationsTable: PostgresStatement {
  static let sql = "select to_regclass('schema_migrations') is not null"
  static func decode(_ row: inout PostgresRow) throws(PostgresError) -> Bool { try row.next() }
}

struct ListMigrations: PostgresStatement {
  /// Through JSON, because the table of a database that is to be adopted lacks the last column.
  static let sql = """
    select number, name, checksum, (to_jsonb(migration) ->> 'compatible_from')::integer
    from schema_migrations migration order by number
    """
  static func decode(_ row: inout PostgresRow) throws(PostgresError) -> Migrations.Applied {
    Migrations.Applied(
      number: try row.next(), name: try row.next(), checksum: try row.next(), compatibleFrom: try row.next())
  }
}

struct FindOldestTransaction: PostgresStatement {
  static let sql = """
    select pid, extract(epoch from clock_timestamp() - xact_start)::integer from pg_stat_activity
    where datname = current_database() and backend_type = 'client backend' and pid <> pg_backend_pid()
      and xact_start is not null
    order by xact_start limit 1
    """
  static func decode(_ row: inout PostgresRow) throws(PostgresError) -> Migrations.OldestTransaction {
    Migrations.OldestTransaction(processID: try row.next(), seconds: try row.next())
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
