package import Postgres

/// All secrets that are sealed under `SECRET_KEY`.
package struct SealedSecrets: Sendable {
  /// The number of second factors that are examined, most recent first.
  package static let countMax = 100

  private let pool: PostgresPool

  package init(pool: PostgresPool) { self.pool = pool }

  /// The number of second factors examined, how many of them open with a previous key of `box`, and how many with none.
  /// Without a box, none of them opens.
  package func count(openedBy box: SecretBox?) async throws -> (all: Int, previous: Int, unreadable: Int) {
    let factors = try await pool.query(ListSealedSecrets(countMax: Self.countMax), as: .identity)
    let ages = factors.map { box?.open($0.secret, for: $0.personID)?.age }
    return (ages.count, ages.count { $0 == .previous }, ages.count { $0 == nil })
  }
}
