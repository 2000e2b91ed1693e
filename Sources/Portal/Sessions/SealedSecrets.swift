package import Postgres

/// What is sealed under `SECRET_KEY`, as a whole.
package struct SealedSecrets: Sendable {
  /// Second factors that are looked at, the latest.
  package static let countMax = 100

  private let pool: PostgresPool

  package init(pool: PostgresPool) { self.pool = pool }

  /// How many of the latest second factors there are, how many of these a previous key of `box` opens, and how many
  /// none does; without a box, none does.
  package func count(openedBy box: SecretBox?) async throws -> (all: Int, previous: Int, unreadable: Int) {
    let factors = try await pool.query(ListSealedSecrets(countMax: Self.countMax), as: .identity)
    let ages = factors.map { box?.open($0.secret, for: $0.personID)?.age }
    return (ages.count, ages.count { $0 == .previous }, ages.count { $0 == nil })
  }
}
