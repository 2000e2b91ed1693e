package import Postgres

/// What is sealed under `SECRET_KEY`, as a whole.
package struct SealedSecrets: Sendable {
  /// Second factors that are looked at, the latest.
  package static let countMax = 100

  private let pool: PostgresPool

  package init(pool: PostgresPool) { self.pool = pool }

  /// How many of the latest second factors there are, and how many of these `box` does not open; without one, none.
  package func count(openedBy box: SecretBox?) async throws -> (all: Int, unreadable: Int) {
    let factors = try await pool.query(ListSealedSecrets(countMax: Self.countMax), as: .identity)
    return (factors.count, factors.count { box?.open($0.secret, for: $0.personID) == nil })
  }
}
