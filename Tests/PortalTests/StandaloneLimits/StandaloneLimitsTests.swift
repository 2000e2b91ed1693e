import Foundation
import PortalTesting
import Postgres
import Testing

@testable import Portal

@Suite("Standalone limits")
struct StandaloneLimitsTests {
  /// A day, so that no window ends within a test.
  private static let milliseconds = 86_400_000

  private func request(
    _ identifier: String = "user_1", in namespace: String = "emails", _ limit: Int = 5, cost: Int = 1
  ) -> LimitRequest {
    LimitRequest(
      namespace: namespace, identifier: identifier,
      limit: WindowLimit(limit: limit, windowMilliseconds: Self.milliseconds), cost: cost)
  }

  /// Lets an instance follow the log to its end, as its listener does.
  private func sync(_ limits: StandaloneLimits, _ pool: PostgresPool) async throws {
    _ = limits.namespaces.cache.apply(try await pool.newestSync())
  }

  @Test("an identifier in a namespace has its own count, and the answer has the numbers that applied")
  func counts() async throws {
    try await withPool { pool in
      let limits = World(pool).makeStandaloneLimits()
      for number in 1...5 {
        let answer = try await limits.take(request(), by: World.caller)
        #expect(answer.isAllowed && answer.standing.window.remaining == 5 - number && answer.overrideID == nil)
        #expect(answer.limit == WindowLimit(limit: 5, windowMilliseconds: Self.milliseconds))
      }
      let refused = try await limits.take(request(), by: World.caller)
      #expect(!refused.isAllowed && refused.standing.window.remaining == 0)
      #expect((1...2 * 86_400).contains(refused.standing.window.retryAfterSeconds ?? 0))
      for other in [
        request("user_2"), request("USER_1"), request("e\u{301}"), request("\u{e9}"), request(in: "sms"),
        request(in: "Emails"),
      ] { #expect(try await limits.take(other, by: World.caller).standing.window.remaining == 4) }
      #expect(try await limits.take(request(cost: 0), by: World.caller).isAllowed)
      #expect(!(try await limits.take(request("new", 5, cost: 6), by: World.caller)).isAllowed)
    }
  }

  @Test("of concurrent first uses on several instances, one makes the namespace, and all are counted in it")
  func firstUse() async throws {
    try await withPool { pool in
      let world = World(pool)
      for round in 0..<5 {
        let instances = (0..<3).map { _ in world.makeStandaloneLimits() }
        let outcomes = await concurrently(60) { index in
          try await instances[index % 3].take(
            request(in: "namespace \(round)", 15), mode: .consistent, by: World.caller
          ).isAllowed
        }
        #expect(outcomes.errors.isEmpty)
        #expect(outcomes.values.count { $0 } == 15)
        let made = try await pool.number("select count(*) from limit_namespaces")
        let events = try await pool.number(
          "select count(*) from audit_events where action = 'limit_namespace.created'")
        #expect(made == round + 1 && events == made)
      }
    }
  }

  @Test("a deployment has at most a thousand namespaces, also if they are made concurrently; those that exist go on")
  func bounded() async throws {
    try await withPool { pool in
      let world = World(pool)
      try await pool.script(
        """
        insert into limit_namespaces (id, name, name_hash)
        select gen_random_uuid(), name, sha256(convert_to(name, 'UTF8'))
        from (select 'namespace ' || n as name from generate_series(1, \(LimitNamespace.countMax - 3)) n) names
        """)
      let instances = (0..<2).map { _ in world.makeStandaloneLimits() }
      let outcomes = await concurrently(20) { index in
        try await instances[index % 2].take(request(in: "new \(index)"), by: World.caller)
      }
      #expect(outcomes.values.count == 3 && outcomes.count(of: LimitNamespaces.full) == 17)
      #expect(try await pool.number("select count(*) from limit_namespaces") == LimitNamespace.countMax)
      #expect(try await instances[0].take(request(in: "namespace 1"), by: World.caller).isAllowed)
      await #expect(throws: LimitNamespaces.full) {
        try await world.overrides.set(
          WindowLimit(limit: 1, windowMilliseconds: 1_000), for: "a", in: "newest", by: World.caller)
      }
      _ = try await world.namespaces.delete("namespace 2", by: World.caller)
      #expect(try await instances[0].take(request(in: "newest"), by: World.caller).isAllowed)
    }
  }

  @Test("a request to a namespace that is in the cache takes no statement")
  func fromMemory() async throws {
    try await withPool { pool in
      let limits = World(pool).makeStandaloneLimits()
      _ = try await limits.take(request(), by: World.caller)
      try await sync(limits, pool)
      // The first one after that reads it.
      _ = try await limits.take(request(), by: World.caller)
      let batches = pool.statistics.batchCount
      for number in 0..<100 { _ = try await limits.take(request("user_\(number)"), by: World.caller) }
      _ = try await limits.takeAll((0..<100).map { request("other_\($0)") }, by: World.caller)
      #expect(pool.statistics.batchCount == batches)
    }
  }

  @Test("the override of exactly the identifier applies, else that of the longest pattern, else the caller's numbers")
  func overrides() async throws {
    try await withPool { pool in
      let world = World(pool)
      var ids: [String: UUID] = [:]
      for (identifier, limit) in [("user_1", 11), ("user_*", 12), ("*", 13), ("user_9*", 0)] {
        let outcome = try await world.overrides.set(
          WindowLimit(limit: limit, windowMilliseconds: 60_000), for: identifier, in: "emails", by: World.caller)
        #expect(outcome.isNew && outcome.override.identifier == identifier)
        ids[identifier] = outcome.override.id
      }
      let limits = world.makeStandaloneLimits()
      for (identifier, chosen, limit) in [
        ("user_1", "user_1", 11), ("user_12", "user_*", 12), ("x", "*", 13), ("user_99", "user_9*", 0),
      ] {
        let answer = try await limits.take(request(identifier), by: World.caller)
        #expect(answer.overrideID == ids[chosen], "\(identifier)")
        #expect(answer.limit == WindowLimit(limit: limit, windowMilliseconds: 60_000), "\(identifier)")
        #expect(answer.isAllowed == (limit > 0), "\(identifier)")
        #expect(answer.standing.window.remaining == max(0, limit - 1), "\(identifier)")
      }
      let other = try await limits.take(request(in: "sms"), by: World.caller)
      #expect(other.overrideID == nil && other.limit.limit == 5)
    }
  }

  @Test("an override that is set, changed or deleted on one instance is in force on another when that follows the log")
  func coherence() async throws {
    try await withPool { pool in
      let world = World(pool)
      let limits = world.makeStandaloneLimits()
      func limit() async throws -> Int {
        try await sync(limits, pool)
        return try await limits.take(request(cost: 0), by: World.caller).limit.limit
      }
      #expect(try await limit() == 5)
      var id: UUID?
      for number in [7, 8, 9] {
        let outcome = try await world.overrides.set(
          WindowLimit(limit: number, windowMilliseconds: 1_000), for: "user_*", in: "emails", by: World.caller)
        #expect(outcome.isNew == (id == nil) && outcome.override.id == id ?? outcome.override.id)
        id = outcome.override.id
        #expect(try await limit() == number)
      }
      _ = try await world.overrides.delete(try #require(id), in: "emails", by: World.caller)
      #expect(try await limit() == 5)
      try await pool.script(
        """
        insert into limit_overrides (id, namespace_id, identifier, limit_value, window_milliseconds)
        select gen_random_uuid(), id, 'user_1', 3, 1000 from limit_namespaces
        """)
      #expect(try await limit() == 3)
      try await pool.script("update limit_overrides set limit_value = 2")
      #expect(try await limit() == 2)
      try await pool.script("truncate limit_namespaces cascade")
      #expect(try await limit() == 5)
    }
  }

  @Test("requests that are decided together take all or nothing, in any namespaces, and are counted by their outcome")
  func together() async throws {
    try await withPool { pool in
      let observations = Observations()
      let limits = World(pool).makeStandaloneLimits(observer: Observer([observations.sink]))
      let requests = [request("a"), request("a", in: "sms", 2), request("a", cost: 4), request("b", cost: 6)]
      for _ in 1...3 {
        let answers = try await limits.takeAll(requests, by: World.caller)
        #expect(answers.map(\.isAllowed) == [true, true, true, false])
        #expect(answers.map(\.standing.window.remaining) == [5, 2, 5, 5])
      }
      #expect(try await pool.lines("select name from limit_namespaces order by name") == ["emails", "sms"])
      let taken = try await limits.takeAll(Array(requests.dropLast()), by: World.caller)
      #expect(taken.map(\.isAllowed) == [true, true, true] && taken.map(\.standing.window.remaining) == [0, 1, 0])
      #expect(observations.count(.limitDecided(.withheld)) == 9 && observations.count(.limitDecided(.refused)) == 3)
      #expect(observations.count(.limitDecided(.allowed)) == 3)
      let mixed = try await limits.takeAll([request("c", 0), request("c")], by: World.caller)
      #expect(mixed.map(\.isAllowed) == [false, true])
    }
  }

  @Test("a deleted namespace forgets what was used and its overrides; the next use makes another one")
  func deleted() async throws {
    try await withPool { pool in
      let world = World(pool)
      let limits = world.makeStandaloneLimits()
      _ = try await world.overrides.set(
        WindowLimit(limit: 1, windowMilliseconds: 60_000), for: "user_1", in: "emails", by: World.caller)
      #expect(try await limits.take(request(), by: World.caller).isAllowed)
      #expect(!(try await limits.take(request(), by: World.caller)).isAllowed)
      _ = try await world.namespaces.delete("emails", by: World.caller)
      await #expect(throws: PortalError.notFound) { try await world.namespaces.delete("emails", by: World.caller) }
      await #expect(throws: PortalError.notFound) { try await world.overrides.list(in: "emails") }
      try await sync(limits, pool)
      let answer = try await limits.take(request(), by: World.caller)
      #expect(answer.isAllowed && answer.overrideID == nil && answer.standing.window.remaining == 4)
      #expect(try await world.overrides.list(in: "emails").items.isEmpty)
    }
  }
}

@Suite("Overrides of namespaces")
struct NamespaceOverridesTests {
  private static let limit = WindowLimit(limit: 10, windowMilliseconds: 60_000)

  @Test("setting the same numbers again writes nothing, and other numbers keep the id")
  func again() async throws {
    try await withPool { pool in
      let overrides = World(pool).overrides
      let made = try await overrides.set(Self.limit, for: "a", in: "emails", by: World.caller).override
      let events = try await pool.number("select count(*) from audit_events")
      let seq = try await pool.number("select seq from invalidation_head")
      let again = try await overrides.set(Self.limit, for: "a", in: "emails", by: World.caller)
      #expect(again.override == made && !again.isNew)
      #expect(try await pool.number("select count(*) from audit_events") == events)
      #expect(try await pool.number("select seq from invalidation_head") == seq)
      let other = WindowLimit(limit: 10, windowMilliseconds: 61_000)
      let changed = try await overrides.set(other, for: "a", in: "emails", by: World.caller)
      #expect(changed.override.id == made.id && changed.override.limit == other && !changed.isNew)
      #expect(try await overrides.find(made.id, in: "emails") == changed.override)
      await #expect(throws: PortalError.notFound) { try await overrides.find(made.id, in: "sms") }
      await #expect(throws: PortalError.notFound) { try await overrides.delete(made.id, in: "sms", by: World.caller) }
      #expect(
        try await pool.lines("select detail from audit_events where target_kind = 'limit_override' order by seq") == [
          "10 in 60000 ms for a in emails", "10 in 61000 ms for a in emails",
        ])
    }
  }

  @Test("they are listed newest first, in pages, and one by exactly its identifier")
  func lists() async throws {
    try await withPool { pool in
      let overrides = World(pool).overrides
      for identifier in ["a", "b", "*", "A"] {
        _ = try await overrides.set(Self.limit, for: identifier, in: "emails", by: World.caller)
      }
      let first = try await overrides.list(in: "emails", page: PageRequest(limit: 3))
      #expect(first.items.map(\.identifier) == ["A", "*", "b"])
      let second = try await overrides.list(in: "emails", page: PageRequest(limit: 3, before: first.next))
      #expect(second.items.map(\.identifier) == ["a"] && second.next == nil)
      #expect(try await overrides.list(in: "emails", identifier: "a").items.map(\.identifier) == ["a"])
      #expect(try await overrides.list(in: "emails", identifier: "*").items.map(\.identifier) == ["*"])
      #expect(try await overrides.list(in: "emails", identifier: "c").items.isEmpty)
      await #expect(throws: PortalError.notFound) { try await overrides.list(in: "Emails") }
    }
  }

  @Test("a namespace has a maximum number of overrides, and of those with a star; what exists can still be changed")
  func bounded() async throws {
    try await withPool { pool in
      let overrides = World(pool).overrides
      _ = try await overrides.set(Self.limit, for: "a*", in: "emails", by: World.caller)
      func fill(_ prefix: String, upTo count: Int) async throws {
        try await pool.script(
          """
          insert into limit_overrides (id, namespace_id, identifier, limit_value, window_milliseconds)
          select gen_random_uuid(), namespace.id, '\(prefix)' || n, 1, 1000
          from limit_namespaces namespace,
            generate_series(1, \(count) - (select count(*) from limit_overrides)) n
          """)
      }
      try await fill("*", upTo: LimitOverrides.patternCountMax)
      await #expect(
        throws: PortalError.capReached(reason: "The namespace has as many overrides with * as it may have: 100.")
      ) { try await overrides.set(Self.limit, for: "b*", in: "emails", by: World.caller) }
      let other = WindowLimit(limit: 11, windowMilliseconds: 60_000)
      #expect(try await !overrides.set(other, for: "a*", in: "emails", by: World.caller).isNew)
      #expect(try await overrides.set(other, for: "b", in: "emails", by: World.caller).isNew)
      #expect(try await overrides.set(other, for: "b*", in: "sms", by: World.caller).isNew)
      try await pool.script("delete from limit_namespaces where name = 'sms'")
      try await fill("c", upTo: NamespaceOverride.countMax)
      await #expect(
        throws: PortalError.capReached(reason: "The namespace has as many overrides as it may have: 10000.")
      ) { try await overrides.set(Self.limit, for: "d", in: "emails", by: World.caller) }
      #expect(try await !overrides.set(Self.limit, for: "b", in: "emails", by: World.caller).isNew)
      let limits = World(pool).makeStandaloneLimits()
      let answer = try await limits.take(
        LimitRequest(namespace: "emails", identifier: "c17", limit: Self.limit, cost: 0), by: World.caller)
      #expect(answer.limit == WindowLimit(limit: 1, windowMilliseconds: 1_000))
    }
  }

  @Test("names and identifiers have 1 to 512 characters without controls; windows are whole seconds of a day at most")
  func rules() {
    for text in ["a", "*", "é", " ", "a/b", String(repeating: "😀", count: 512)] { #expect(LimitText.isValid(text)) }
    for text in ["", "a\0", "\n", "\u{7F}", String(repeating: "a", count: 513), String(repeating: "😀", count: 513)] {
      #expect(!LimitText.isValid(text))
    }
    for milliseconds in [1_000, 60_000, 86_400_000] {
      #expect(StandaloneLimit.isValid(windowMilliseconds: milliseconds))
    }
    for milliseconds in [0, -1_000, 999, 1_001, 86_401_000, .max, .min] {
      #expect(!StandaloneLimit.isValid(windowMilliseconds: milliseconds))
    }
  }
}
