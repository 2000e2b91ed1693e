/// Takes the migration lock; false if another connection holds it.
struct TryLockMigrations: PostgresStatement {
  typealias Row = Bool
  static let sql = "select pg_try_advisory_lock($1)"
  let key: Int
  func bind(_ bindings: inout PostgresBindings) { bindings.append(key) }
}

/// Waits for the migration lock, which is held until the connection closes.
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
  typealias Row = Bool
  static let sql = "select to_regclass('schema_migrations') is not null"
}

struct ListMigrations: PostgresStatement {
  /// Reads the last column through JSON, because the table of a database that is to be adopted does not have it.
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

/// The server's md5 of each text: it detects accidents, not attackers, who would already control the database.
struct ChecksumTexts: PostgresStatement {
  typealias Row = String
  static let sql =
    "select md5(text) from unnest($1::text[]) with ordinality as files (text, position) order by position"
  let texts: [String]
  func bind(_ bindings: inout PostgresBindings) { bindings.append(texts) }
}
