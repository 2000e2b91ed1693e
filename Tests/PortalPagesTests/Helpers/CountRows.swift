import Postgres

/// Counts rows and changes in all tables that a form could have written to.
struct CountRows: PostgresStatement {
  typealias Row = Int
  static let sql = """
    select (select count(*) from api_keys) + (select coalesce(sum(revision), 0)::bigint from api_keys)
      + (select count(*) from accounts) + (select count(*) from users) + (select count(*) from memberships)
      + (select count(*) from sessions) + (select count(*) from invitations) + (select count(*) from audit_events)
      + (select count(*) from mails) + (select count(*) from idempotent_requests)
    """
}
