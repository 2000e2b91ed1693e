/// One statement on its way to the server.
struct PostgresCommand: Sendable {
  enum Kind: Sendable {
    /// With parameters; prepared once per connection under a name made of the type's, where that can be.
    case prepared(any PostgresStatement.Type)
    /// Sent without preparing, and without parameters: `begin`, `listen` …
    case plain(String)
    /// `commit` or `rollback`; not sent when the `begin` before it has not been, either.
    case end(String)
    /// Many statements in one text, by the simple protocol, which binds no parameters and leaves pipeline mode.
    case script(String)
  }

  let kind: Kind
  var bindings = PostgresBindings()

  init(_ kind: Kind) { self.kind = kind }

  init<Statement: PostgresStatement>(_ statement: Statement) {
    self.init(.prepared(Statement.self))
    statement.bind(&bindings)
  }

  var isScript: Bool { if case .script = kind { true } else { false } }
  /// What has no parameters, or says how it is written without them; for scripts, which have none.
  var text: String? {
    switch kind {
    case .plain(let sql): sql
    case .prepared, .end, .script: nil
    }
  }
  var isBegin: Bool { if case .plain(let sql) = kind { sql.hasPrefix("begin") } else { false } }
  /// Whether it changes nothing that outlasts the connection.
  var isRead: Bool {
    switch kind {
    case .prepared(let type): type.isRead
    case .plain: true
    case .end, .script: false
    }
  }
  var isEnd: Bool { if case .end = kind { true } else { false } }

  var label: StatementLabel {
    switch kind {
    case .prepared(let type): .type(type)
    case .plain(let sql), .end(let sql): .text(sql)
    case .script: .text("script")
    }
  }
}

/// What errors call a statement. The name of a type is made when it is asked for only: making it for every execution
/// would cost more than sending it.
enum StatementLabel: Sendable, CustomStringConvertible {
  case type(any PostgresStatement.Type)
  case text(String)

  var description: String {
    switch self {
    case .type(let type): "\(type)"
    case .text(let text): text
    }
  }
}
