import Postgres

struct ReadDatabaseVersion: PostgresStatement {
  static let sql = """
    select current_setting('server_version_num')::integer / 10000, current_setting('server_version')
    """
  static func decode(_ row: inout PostgresRow) throws(PostgresError) -> DatabaseVersion {
    DatabaseVersion(number: try row.next(), text: try row.next())
  }
}
