import Foundation
import JSON
import Portal
import PortalAPI
import PortalHTTP
import PortalTesting
import Postgres
import PostgresTesting
import Synchronization

/// A key with its secret.
struct OwnedKey: Sendable {
  let id: UUID
  let secret: String
}

/// A customer with many keys.
struct KeyOwner: Sendable {
  let session: String
  let keys: [OwnedKey]
}

/// Several real servers on one database, a pool of connections to that database, and a gateway's token.
struct RevocationWorld: Sendable {
  let servers: [RunningServer]
  let pool: PostgresPool
  let token: String

  static func with(
    _ servers: [RunningServer], on database: TestDatabase, _ body: (RevocationWorld) async throws -> Void
  ) async throws {
    let created = try await latchkey(
      [
        "tokens", "create", "--name", "gateway", "--permission", "keys.verify", "--permission", "usage.write", "--json",
      ],
      environment: ["DATABASE_URL": database.url])
    guard let token = try created.json()["token"].string else {
      throw TestSetupError(description: "no token: \(created)")
    }
    var configuration = database.configuration
    configuration.poolSizeMax = 30
    try await PostgresPool.with(configuration) { pool in
      try await body(RevocationWorld(servers: servers, pool: pool, token: token))
    }
  }

  var ports: [Int] { servers.map(\.port) }

  /// Creates a customer, and their keys directly in the database, because the portal would create them one by one.
  func makeOwner(_ name: String, keyCount: Int) async throws -> KeyOwner {
    let answer = try await TestConnection.with([ports[0]]) { connections in
      try await connections[0].send(
        "POST", "/v1/signup",
        "{\"email\":\"\(name)@example.com\",\"password\":\"correct horse battery\",\"accountName\":\"\(name)\"}")
    }
    let login = try answer.json()
    guard let session = login["token"].string,
      let accountID = login["account"]["id"].string.flatMap({ UUID(uuidString: $0) })
    else { throw TestSetupError(description: "sign-up answered \(answer)") }
    let keys = (0..<keyCount).map { _ in OwnedKey(id: .version7(), secret: Secret.random(prefix: "lk_live").reveal()) }
    try await pool.execute(InsertKeys(accountID: accountID, keys: keys))
    return KeyOwner(session: session, keys: keys)
  }

  // MARK: Asking

  /// Asks until all keys are accepted in one answer, so that they are in that server's cache.
  func warm(_ keys: [OwnedKey], at connection: TestConnection) async throws {
    let secrets = keys.map(\.secret)
    var last: TestConnection.Answer?
    do {
      try await eventually("the keys were accepted", within: .seconds(60)) {
        let answer = try await connection.verify(secrets, token: token)
        last = answer
        if answer.codes == secrets.map({ _ in "VALID" }) { return true }
        try await Task.sleep(for: .milliseconds(20))
        return false
      }
    } catch let error as NeverHappened {
      throw TestSetupError(description: "\(error); the last answer was \(String(describing: last))")
    }
  }

  /// A server's answers about some keys until it had refused all of them.
  struct Heard: Sendable {
    /// By key: when the accepted questions were sent.
    var accepted: [[ContinuousClock.Instant]]
    /// By key: when the first refusal arrived.
    var refused: [ContinuousClock.Instant?]
    var answerCount = 0
    /// Answers of 503.
    var unavailableCount = 0
    /// Answers that are wrong for a key that was valid and is being revoked, or was refused before.
    var problems: [String] = []

    init(_ count: Int) {
      accepted = Array(repeating: [], count: count)
      refused = Array(repeating: nil, count: count)
    }

    var isOver: Bool { refused.allSatisfy { $0 != nil } }

    mutating func hear(_ answer: TestConnection.Answer, askedAt: ContinuousClock.Instant) {
      answerCount += 1
      let codes = answer.codes
      guard answer.status == 200, codes.count == refused.count else {
        if answer.status == 503, answer.retryAfter != nil {
          unavailableCount += 1
        } else {
          problems.append("answered \(answer)")
        }
        return
      }
      for (index, code) in codes.enumerated() {
        switch code {
        case "VALID":
          accepted[index].append(askedAt)
          if let refusedAt = refused[index] {
            problems.append(
              "accepted again: question \(answerCount), key \(index), sent \((askedAt - refusedAt).inMilliseconds) and "
                + "answered \((.now - refusedAt).inMilliseconds) after the first refusal; \(answer.text.prefix(600))")
          }
        case "REVOKED":
          if refused[index] == nil { refused[index] = .now }
        default:
          problems.append("answered \(code)")
        }
      }
    }
  }

  /// Asks repeatedly until all keys have been refused.
  func askUntilRefused(
    _ keys: [OwnedKey], at connection: TestConnection, within limit: Duration = .seconds(30)
  ) async throws -> Heard {
    let secrets = keys.map(\.secret)
    var heard = Heard(keys.count)
    let start = ContinuousClock.now
    while !heard.isOver {
      let askedAt = ContinuousClock.now
      guard askedAt - start < limit else {
        heard.problems.append("\(heard.refused.count { $0 == nil }) keys were not refused for \(limit)")
        return heard
      }
      heard.hear(try await connection.verify(secrets, token: token), askedAt: askedAt)
      // Short pauses while answers are quick; in a long fault, dozens of callers would compete for the processor.
      try await Task.sleep(for: min(max(.milliseconds(1), (askedAt - start) / 8), .milliseconds(50)))
    }
    return heard
  }

  // MARK: What is stored

  /// The number of verdicts that are stored.
  func verdictCount(of keys: [OwnedKey]) async throws -> Int {
    try await pool.query(SumVerdictsOfKeys(ids: keys.map(\.id))).first ?? 0
  }

  /// The number of outcomes that are stored.
  func outcomeCount(of keys: [OwnedKey]) async throws -> Int {
    try await pool.query(SumOutcomesOfKeys(ids: keys.map(\.id))).first ?? 0
  }

  // MARK: Revoking

  /// A revocation that took effect.
  struct Revocation: Sendable {
    /// Just before it was sent.
    var startedAt: ContinuousClock.Instant
    /// When its commit was known: the commit is no later.
    var knownAt: ContinuousClock.Instant
  }

  /// Longer than any test keeps the database, or the standby that commits wait for, unavailable.
  static let outageMax: Duration = .seconds(240)

  /// Runs `attempt` until it has revoked the keys. If its outcome is unknown, asks the database.
  func revoke(_ keys: [OwnedKey], _ attempt: () async throws -> Void) async throws -> Revocation {
    let limit = ContinuousClock.now + Self.outageMax
    while true {
      let startedAt = ContinuousClock.now
      do {
        try await attempt()
        return Revocation(startedAt: startedAt, knownAt: .now)
      } catch {
        guard Self.isUnavailable(error), .now < limit else { throw error }
      }
      if try await areRevoked(keys) { return Revocation(startedAt: startedAt, knownAt: .now) }
      try await Task.sleep(for: .milliseconds(20))
    }
  }

  private func areRevoked(_ keys: [OwnedKey]) async throws -> Bool {
    let limit = ContinuousClock.now + Self.outageMax
    while true {
      do {
        return try await pool.query(CountRevoked(ids: keys.map(\.id))).first == keys.count
      } catch {
        guard Self.isUnavailable(error), .now < limit else { throw error }
      }
      try await Task.sleep(for: .milliseconds(20))
    }
  }

  /// A server answered 503.
  struct Unavailable: Error {}

  static func isUnavailable(_ error: any Error) -> Bool {
    error is Unavailable || (error as? PostgresError)?.isUnavailable == true
  }

  /// Revokes a key as its owner.
  func revoke(_ key: OwnedKey, of owner: KeyOwner, at connection: TestConnection) async throws -> JSONPropagation {
    let answer = try await connection.send("DELETE", "/v1/keys/\(key.id)".lowercased(), token: owner.session)
    if answer.status == 503 { throw Unavailable() }
    let propagation = try answer.json()["propagation"]
    guard answer.status == 200, let instances = propagation["instances"].integer,
      let acknowledged = propagation["acknowledged"].integer, let milliseconds = propagation["milliseconds"].integer
    else { throw TestSetupError(description: "revoking answered \(answer)") }
    return JSONPropagation(instances: instances, acknowledged: acknowledged, milliseconds: milliseconds)
  }

  /// The answers of servers about a key from its revocation on.
  struct RevokedKey: Sendable {
    /// From when the commit was known to the last server's first refusal; answers of 503 may come in between.
    var slowest = Duration.zero
    /// How long after the commit was known the accepted questions were sent.
    var acceptedAfter: [Duration] = []
    var problems: [String] = []
  }

  /// Revokes a key at one server, and asks servers about it until all have refused it.
  func revokeAndAsk(
    _ key: OwnedKey, of owner: KeyOwner, at connection: TestConnection, asking connections: [TestConnection],
    onceKnown: () -> Void = {}
  ) async throws -> RevokedKey {
    let revocation = try await revoke([key]) { _ = try await revoke(key, of: owner, at: connection) }
    onceKnown()
    var revoked = RevokedKey()
    for connection in connections {
      let heard = try await askUntilRefused([key], at: connection, within: Self.outageMax)
      revoked.problems += heard.problems
      revoked.acceptedAfter += heard.accepted[0].map { $0 - revocation.knownAt }
      revoked.slowest = max(revoked.slowest, (heard.refused[0] ?? .now) - revocation.knownAt)
    }
    return revoked
  }

  /// Revokes keys as in psql, with one statement.
  func revokeByHand(_ keys: [OwnedKey]) async throws {
    try await pool.execute(RevokeManyByHand(ids: keys.map(\.id)))
  }

  /// Revokes keys as in psql, with a statement for each in one transaction.
  func revokeOneByOne(_ keys: [OwnedKey]) async throws {
    let statements = keys.map { "update api_keys set revoked_at = now() where id = '\($0.id)';" }
    try await pool.withConnection { try await $0.executeScript(statements.joined()) }
  }
}

/// The receipt of a revocation.
struct JSONPropagation: Sendable {
  var instances: Int
  var acknowledged: Int
  var milliseconds: Int
}

extension Duration {
  var inMilliseconds: String { String(format: "%.1f ms", self / .milliseconds(1)) }
}

struct InsertKeys: PostgresStatement {
  static let sql = """
    insert into api_keys (id, account_id, name, key_start, key_hash, environment, scopes, rate_limit_per_minute)
    select id, $1, 'Key', left(secret, 12), sha256(convert_to(secret, 'UTF8')), 'live', '{a}', 10000
    from unnest($2::uuid[], $3::text[]) as made (id, secret)
    """
  let accountID: UUID
  let keys: [OwnedKey]
  func bind(_ bindings: inout PostgresBindings) { bindings.append(accountID, keys.map(\.id), keys.map(\.secret)) }
}

struct RevokeManyByHand: PostgresStatement {
  static let sql = "update api_keys set revoked_at = now() where id = any($1)"
  let ids: [UUID]
  func bind(_ bindings: inout PostgresBindings) { bindings.append(ids) }
}

struct CountRevoked: PostgresStatement {
  typealias Row = Int
  static let sql = "select count(*) from api_keys where id = any($1) and revoked_at is not null"
  let ids: [UUID]
  func bind(_ bindings: inout PostgresBindings) { bindings.append(ids) }
}

private struct SumVerdictsOfKeys: PostgresStatement {
  typealias Row = Int
  static let sql = """
    select coalesce(sum(verified_count + denied_count), 0)::bigint from key_usage where key_id = any ($1)
    """
  let ids: [UUID]
  func bind(_ bindings: inout PostgresBindings) { bindings.append(ids) }
}

private struct SumOutcomesOfKeys: PostgresStatement {
  typealias Row = Int
  static let sql = "select coalesce(sum(reported_count), 0)::bigint from key_usage where key_id = any ($1)"
  let ids: [UUID]
  func bind(_ bindings: inout PostgresBindings) { bindings.append(ids) }
}
