import PortalTesting
import Postgres
import PostgresTesting

/// Runs `body` with a database whose clock is stopped, so that delays do not depend on the machine's speed.
func withStoppedClock(_ body: (PostgresPool) async throws -> Void) async throws {
  try await withDatabase { database in
    try await PostgresPool.with(database.configuration) { pool in
      try await pool.script(
        """
        create schema clock;
        create table clock.moment as select clock_timestamp() as moment;
        create function clock.clock_timestamp() returns timestamptz language sql
          as 'select moment from clock.moment';
        grant usage on schema clock to public;
        grant select on clock.moment to public;
        alter database \(database.name) set search_path = clock, pg_catalog, public
        """)
    }
    try await PostgresPool.with(database.configuration, body)
  }
}
