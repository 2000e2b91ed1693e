import Postgres

struct GrantPortal: PostgresStatement {
  static let isRead = false
  static let sql = "select grant_portal($1::text::name)"
  let role: String
  func bind(_ bindings: inout PostgresBindings) { bindings.append(role) }
}

struct GrantAnalytics: PostgresStatement {
  static let isRead = false
  static let sql = "select grant_analytics($1::text::name)"
  let role: String
  func bind(_ bindings: inout PostgresBindings) { bindings.append(role) }
}
