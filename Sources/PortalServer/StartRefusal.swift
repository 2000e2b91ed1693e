import Portal
import Postgres

/// Why `latchkey serve` does not start, given the state of the database; nil if it does.
enum StartRefusal {
  static func of(_ status: Migrations.Status) -> String? {
    switch status {
    case .current, .ahead: nil
    case .pending(let names):
      "\(names.count) migrations are pending (next: \(names[0])); run latchkey migrate first"
    case .adoptable: "the database was created before the migrations were renumbered; run latchkey migrate first"
    }
  }

  static func of(_ needs: MigrationNeeds) -> String? {
    if !needs.missingRoles.isEmpty {
      return """
        the PostgreSQL server does not have the roles \(needs.missingRoles.joined(separator: ", ")), as after a \
        restore on another server; run latchkey migrate to create them with their privileges
        """
    }
    guard !needs.unavailableRoles.isEmpty else { return nil }
    return """
      the login \(needs.login) may not switch to the roles \(needs.unavailableRoles.joined(separator: ", ")); \
      run latchkey migrate --serve-role with its name to grant them
      """
  }

  static func of(_ missing: [AccessRule]) -> String? {
    guard let first = missing.first else { return nil }
    return """
      the database does not have what the migrations set: \(missing.summary) (first: \(first.statement)), as after a \
      restore on a server without the roles; run latchkey migrate to repair it
      """
  }

  /// `place` is the address that the setting `key` configures.
  static func of(_ condition: PortCondition, _ place: String, _ key: String) -> String? {
    switch condition {
    case .free: nil
    case .taken: "\(place) is already in use, perhaps by another server; stop it, or set another \(key)"
    case .unusable(let reason): "cannot listen on \(place): \(reason)"
    }
  }

  /// `session` is how a pooler treats the listener's connection, which the setting `key` configures.
  static func of(_ session: PostgresSession, listeningBy key: String) -> String? {
    guard session == .shared else { return nil }
    return """
      \(key) leads through a pooler that shares server connections between clients, where LISTEN does not work; \
      set DATABASE_LISTENER_URL to a connection that bypasses the pooler
      """
  }
}
