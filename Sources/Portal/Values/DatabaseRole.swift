package import Foundation
package import Postgres

/// The database roles that statements run under. `migrations/0011_row_level_security.sql` defines what each may see;
/// none of them owns a table, so row-level security applies to all.
package enum DatabaseRole: String, Sendable, CaseIterable {
  /// The rows of the current account, and nothing without one.
  case portal = "latchkey_portal"
  /// Logins: people, staff and their sessions.
  case identity = "latchkey_identity"
  /// Verification, limits and counters.
  case gateway = "latchkey_gateway"
  /// Everything except secrets; changes only in the current account.
  case staff = "latchkey_staff"
  /// Usage of all accounts.
  case analyst = "latchkey_analyst"
  /// Background jobs.
  case jobs = "latchkey_jobs"

  static let names = allCases.map(\.rawValue)
}

/// The role, and the account, of a transaction.
extension PostgresSettings {
  /// For statements of one account: row-level security hides the rows of all others.
  package static func account(_ id: UUID) -> PostgresSettings { PostgresSettings(.portal, in: id) }

  /// For staff reads of any account, without changes.
  package static let staff = PostgresSettings(.staff)

  /// For staff changes in one account.
  package static func staff(in accountID: UUID) -> PostgresSettings { PostgresSettings(.staff, in: accountID) }

  static let identity = PostgresSettings(.identity)
  static let analyst = PostgresSettings(.analyst)
  static let jobs = PostgresSettings(.jobs)
  /// For look-ups of keys outside the pool of verification.
  static let gateway = PostgresSettings(.gateway)

  private init(_ role: DatabaseRole, in accountID: UUID? = nil) {
    var values = ["role": role.rawValue]
    values["latchkey.account_id"] = accountID?.text
    self.init(values)
  }
}

extension PostgresConfiguration {
  /// The same database, with connections that use this role.
  package func with(_ role: DatabaseRole) -> PostgresConfiguration {
    var configuration = self
    configuration.role = role.rawValue
    return configuration
  }
}
