import Postgres

extension TestDatabase {
  /// Sets the clock that `clock_timestamp()` returns in this database, for connections opened after the first call.
  package func setClock(aheadSeconds: Int) async throws {
    try await PostgresPool.with(PostgresConfiguration(url: url)) { pool in
      try await pool.withConnection { connection in
        try await connection.executeScript(
          """
          create schema if not exists clock;
          create table if not exists clock.setting (ahead interval not null);
          delete from clock.setting;
          insert into clock.setting values (\(aheadSeconds) * interval '1 second');
          create or replace function clock.clock_timestamp() returns timestamptz language sql
            as 'select pg_catalog.clock_timestamp() + ahead from clock.setting';
          grant usage on schema clock to public;
          grant select on clock.setting to public;
          alter database \(name) set search_path = clock, pg_catalog, public
          """)
      }
    }
  }
}
