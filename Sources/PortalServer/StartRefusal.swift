import Portal
import PortalHTTP
import Postgres

/// Why `latchkey serve` does not start, of what the database says; nil if it does.
enum StartRefusal {
  static func of(_ status: Migrations.Status) -> String? {
    switch status {
    case .current, .ahead: nil
    case .pending(let names):
      "\(names.count) migrations are pending (next: \(names[0])); run latchkey migrate first"
    case .adoptable: "the database was made before the migrations had these numbers; run latchkey migrate first"
    }
  }

  static func of(_ needs: MigrationNeeds) -> String? {
    if !needs.missingRoles.isEmpty {
      return """
        the server lacks the roles \(needs.missingRoles.joined(separator: ", ")), as after a restore on another one; \
        latchkey migrate makes them, and gives them their rights
        """
    }
    guard !needs.strangeRoles.isEmpty else { return nil }
    return """
      the login \(needs.login) may not take on the roles \(needs.strangeRoles.joined(separator: ", ")); \
      latchkey migrate --serve-role with its name lets it
      """
  }

  static func of(_ missing: [AccessRule]) -> String? {
    guard let first = missing.first else { return nil }
    return """
      the database lacks what the migrations gave it: \(missing.summary) (first: \(first.statement)), as after a \
      restore on a server without the roles; latchkey migrate mends it
      """
  }

  /// `key` says where the listener connects, `session` what a pooler between does.
  static func of(_ session: PostgresSession, listeningBy key: String) -> String? {
    guard session == .shared else { return nil }
    return """
      \(key) leads through a pooler that gives each transaction another server, where nobody can listen; \
      set DATABASE_LISTENER_URL to PostgreSQL itself
      """
  }
}
