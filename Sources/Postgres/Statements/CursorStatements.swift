/// Opens the rows of another statement for reading a few at a time.
package struct DeclareExport<Query: PostgresStatement>: PostgresStatement {
  package static var sql: String { "declare export no scroll cursor for " + Query.sql }
  let query: Query

  package init(query: Query) { self.query = query }

  package func bind(_ bindings: inout PostgresBindings) { query.bind(&bindings) }
}

/// The next rows; none at the end.
package struct FetchExport<Query: PostgresStatement>: PostgresStatement {
  package static var sql: String { "fetch 1000 from export" }

  package init() {}

  package static func decode(_ row: inout PostgresRow) throws(PostgresError) -> Query.Row { try Query.decode(&row) }
}
