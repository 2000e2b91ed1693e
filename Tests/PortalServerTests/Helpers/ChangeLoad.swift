import Foundation
import PortalAPI
import PortalHTTP
import PortalTesting
import PostgresTesting
import Synchronization

/// Customers who revoke and create keys, and a gateway that reports outcomes, one change after the other on two
/// servers, whatever happens to the database. It records what was acknowledged.
final class ChangeLoad: Sendable {
  struct Tally: Sendable {
    var revoked: [OwnedKey] = []
    var made: [OwnedKey] = []
    var outcomeCount = 0
    /// How long after its commit was known a revoked key was last accepted.
    var acceptedLatest = Duration.zero
    /// Acceptances later than the lease.
    var lateCount = 0
    /// Wrong answers about keys that were revoked or created.
    var problems: [String] = []
    fileprivate var changedAt = ContinuousClock.now
    fileprivate var longestSilence = Duration.zero

    fileprivate mutating func change() {
      let now = ContinuousClock.now
      longestSilence = max(longestSilence, now - changedAt)
      changedAt = now
    }
  }

  private static let lease: Duration = .seconds(2)
  private static let revokerCount = 3
  private static let outcomeBatchSize = 10
  /// Revocations to wait for before and after each event.
  private static let awaitedCount = 30
  /// The pause after each change, which leaves time for other tests.
  private static let pause: Duration = .milliseconds(50)

  private let world: RevocationWorld
  private let owner: KeyOwner
  private let state = Mutex(Tally())
  private let isOver = Atomic(false)

  var tally: Tally { state.withLock { $0 } }

  /// Runs `body` under the load, and returns the load's results. The owner's keys are revoked in turn, except for the
  /// last one, on which outcomes are reported.
  static func run(
    on world: RevocationWorld, _ owner: KeyOwner, _ body: (ChangeLoad) async throws -> Void
  ) async throws -> Tally {
    let load = ChangeLoad(world, owner)
    let revoked = owner.keys.dropLast()
    try await TestConnection.with(world.ports) { connections in
      for connection in connections {
        for start in stride(from: 0, to: revoked.count, by: 500) {
          try await world.warm(Array(revoked[start..<min(start + 500, revoked.count)]), at: connection)
        }
      }
    }
    try await withThrowingTaskGroup(of: Void.self) { group in
      for number in 0..<revokerCount { group.addTask { try await load.revoke(revoker: number) } }
      group.addTask { try await load.makeKeys() }
      group.addTask { try await load.reportOutcomes() }
      defer { load.isOver.store(true, ordering: .relaxed) }
      try await body(load)
      load.isOver.store(true, ordering: .relaxed)
      try await group.waitForAll()
    }
    return load.tally
  }

  private init(_ world: RevocationWorld, _ owner: KeyOwner) {
    self.world = world
    self.owner = owner
  }

  /// Waits for changes of each kind, and returns the longest time since the last call in which none was acknowledged.
  func longestSilence() async throws -> Duration {
    let before = tally
    try await eventually("keys are revoked and made, and outcomes reported", within: .seconds(90)) {
      let now = tally
      return now.revoked.count >= before.revoked.count + Self.awaitedCount && now.made.count > before.made.count
        && now.outcomeCount > before.outcomeCount
    }
    return state.withLock { state in
      defer { state.longestSilence = .zero }
      return state.longestSilence
    }
  }

  private func work(_ body: ([TestConnection]) async throws -> Void) async throws {
    try await TestConnection.with(world.ports) { connections in
      while !isOver.load(ordering: .relaxed) {
        try await body(connections)
        try await Task.sleep(for: Self.pause)
      }
    }
  }

  private func revoke(revoker: Int) async throws {
    var keys = stride(from: revoker, to: owner.keys.count - 1, by: Self.revokerCount).makeIterator()
    try await work { connections in
      guard let key = keys.next().map({ owner.keys[$0] }) else { return }
      let heard = try await world.revokeAndAsk(
        key, of: owner, at: connections[revoker % connections.count], asking: connections,
        onceKnown: { self.state.withLock { $0.change() } })
      state.withLock { tally in
        tally.revoked.append(key)
        tally.acceptedLatest = max(tally.acceptedLatest, heard.acceptedAfter.max() ?? .zero)
        tally.lateCount += heard.acceptedAfter.count { $0 > Self.lease }
        tally.problems += heard.problems
      }
    }
  }

  private func makeKeys() async throws {
    try await work { connections in
      let answer = try await connections[1].send(
        "POST", "/v1/keys", #"{"name":"Made","scopes":["a"]}"#, token: owner.session)
      // Nobody knows the secret of such a key, whether it was created or not.
      if answer.status == 503 { return }
      let json = try answer.json()
      guard let id = json["id"].string.flatMap({ UUID(uuidString: $0) }), let secret = json["key"].string else {
        throw TestSetupError(description: "making a key answered \(answer)")
      }
      state.withLock { $0.change() }
      for connection in connections {
        let asked = try await ask { try await connection.verify([secret], token: world.token) }
        if asked.codes != ["VALID"] { state.withLock { $0.problems.append("a key was made, then \(asked)") } }
      }
      state.withLock { $0.made.append(OwnedKey(id: id, secret: secret)) }
    }
  }

  private func reportOutcomes() async throws {
    guard let key = owner.keys.last else { return }
    let event = "{\"keyId\":\"\(key.id)\",\"endpoint\":\"GET /\",\"status\":200}"
    let events = Array(repeating: event, count: Self.outcomeBatchSize).joined(separator: ",")
    try await work { connections in
      let batch = "{\"batchId\":\"\(UUID())\",\"events\":[\(events)]}"
      // Under the same id until it is known to be counted, as a gateway does.
      let answer = try await ask { try await connections[0].send("POST", "/v1/usage", batch, token: world.token) }
      let json = try answer.json()
      guard answer.status == 202, let accepted = json["accepted"].integer, let duplicates = json["duplicates"].integer,
        accepted + duplicates == Self.outcomeBatchSize
      else { throw TestSetupError(description: "reporting answered \(answer)") }
      state.withLock { tally in
        tally.change()
        tally.outcomeCount += Self.outcomeBatchSize
      }
    }
  }

  /// Repeats the question until the answer is not 503.
  private func ask(_ question: () async throws -> TestConnection.Answer) async throws -> TestConnection.Answer {
    let limit = ContinuousClock.now + RevocationWorld.outageMax
    while true {
      let answer = try await question()
      guard answer.status == 503, .now < limit else { return answer }
      try await Task.sleep(for: .milliseconds(20))
    }
  }
}
