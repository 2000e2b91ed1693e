import Foundation
import Testing

@testable import Portal

@Suite("AuditChainCheck")
struct AuditChainCheckTests {
  private func check(
    _ events: [ChainedAuditEvent], head: AuditHead?, expecting heads: [AuditHead] = []
  ) -> [AuditOutcome] {
    var check = AuditChainCheck(expecting: heads)
    for event in events { check.take(event, head: head) }
    check.finish()
    return check.takeOutcomes()
  }

  private func problems(_ events: [ChainedAuditEvent], head: AuditHead?) -> [String] {
    check(events, head: head).compactMap { outcome in
      if case .finding(let finding) = outcome {
        "\(finding.seq.map { "\($0)" } ?? "-") \(finding.problem)"
      } else {
        nil
      }
    }
  }

  @Test("an unchanged chain is intact, and so are several chains in sequence")
  func intact() {
    let chains = [makeChain(1), makeChain(5), makeChain(3, .system)]
    var check = AuditChainCheck()
    for chain in chains { for event in chain { check.take(event, head: chain.head) } }
    check.finish()
    #expect(check.takeOutcomes() == chains.map { .intact($0.head!) })
    #expect(check.takeOutcomes() == [] && check.findingCount == 0 && check.eventCount == 9 && check.chainCount == 3)
  }

  @Test("the smallest and largest possible numbers are findings, and do not overflow")
  func extremeNumbers() {
    func event(_ seq: Int, after event: ChainedAuditEvent) -> ChainedAuditEvent {
      var next = ChainedAuditEvent.sample(event.trail, after: event.hash)
      next.seq = seq
      return next.hashed()
    }
    let chain = makeChain(1)
    let last = event(.max, after: chain[0])
    let found = problems([chain[0], last, event(.max, after: last), event(.min, after: last)], head: chain.head)
    #expect(found.contains("\(Int.max) \(AuditFinding.Problem.missingBefore(2...Int.max - 1))"))
    #expect(found.count { $0.hasSuffix("\(AuditFinding.Problem.repeated)") } == 2)
    let head = AuditHead(trail: chain[0].trail, seq: .max, hash: .zero)
    #expect(problems(chain, head: head) == ["- \(AuditFinding.Problem.missingAtEnd(2...Int.max))"])
    let negative = event(.min, after: chain[0])
    #expect(problems([negative], head: AuditHead(trail: negative.trail, seq: .min, hash: .zero)).count == 1)
  }

  @Test("removed events are found anywhere in a chain, and reported by their numbers")
  func removed() {
    let chain = makeChain(6)
    for first in 0..<6 {
      for last in first..<6 where last - first < 5 {
        var rest = chain
        rest.removeSubrange(first...last)
        let found = problems(rest, head: chain.head)
        #expect(found.count == 1, "\(found)")
        let numbers = first == last ? "event \(first + 1) is" : "events \(first + 1) to \(last + 1) are"
        #expect(found[0].contains(numbers + " missing"), "\(found)")
        #expect(found[0].hasPrefix(last == 5 ? "- " : "\(last + 2) "))
      }
    }
  }

  @Test("a chain without events is found by its head, and a chain without a head by its events")
  func ends() {
    let chain = makeChain(3)
    var check = AuditChainCheck()
    check.take(emptyChainOf: chain.head!)
    check.finish()
    #expect(
      check.takeOutcomes() == [.finding(AuditFinding(trail: chain[0].trail, problem: .missingAtEnd(1...3)))])
    #expect(self.check(chain, head: nil) == [.finding(AuditFinding(trail: chain[0].trail, problem: .noHead))])
  }

  @Test("events whose numbers were exchanged are found, in every order")
  func reordered() {
    let chain = makeChain(4)
    for order in chain.permutations where order != chain {
      let renumbered = order.enumerated().map { index, event in
        var event = event
        event.seq = index + 1
        return event
      }
      #expect(!problems(renumbered, head: chain.head).isEmpty)
      // Also if all hashes were recomputed.
      #expect(!problems(renumbered.map { $0.hashed() }, head: chain.head).isEmpty)
    }
  }

  @Test("an edited field is found at its event; with a recomputed hash, at the next event or at the head")
  func edited() {
    let chain = makeChain(4)
    for index in chain.indices {
      var changed = chain
      changed[index].reason = "nothing happened"
      #expect(problems(changed, head: chain.head).count == 1)
      #expect(problems(changed, head: chain.head)[0].hasPrefix("\(index + 1) its fields do not match its hash"))
      changed[index] = changed[index].hashed()
      let found = problems(changed, head: chain.head)
      #expect(found.count == 1)
      #expect(
        found[0].hasPrefix(index < 3 ? "\(index + 2) does not continue" : "4 the chain's head has another hash"),
        "\(found)")
    }
  }

  @Test("an inserted event is found: with a number that is taken, between events that were renumbered, or at the end")
  func inserted() {
    let chain = makeChain(4)
    let trail = chain[0].trail
    for index in 0...4 {
      var doubled = chain
      let previous = index == 0 ? AuditHash.zero : chain[index - 1].hash
      doubled.insert(.sample(trail, seq: index + 1, after: previous), at: index)
      #expect(!problems(doubled, head: chain.head).isEmpty, "\(index)")
      let moved = doubled.enumerated().map { place, event in
        var event = event
        event.seq = place + 1
        return event.hashed()
      }
      #expect(!problems(moved, head: chain.head).isEmpty, "\(index)")
      #expect(
        problems(moved, head: AuditHead(trail: trail, seq: 5, hash: chain[3].hash)).isEmpty == false, "\(index)")
    }
  }

  /// This is why heads are kept elsewhere.
  @Test("a chain that was forged from some event on, with its head, is intact by itself, but not as expected")
  func forged() {
    let chain = makeChain(5)
    let forged = chain.prefix(2) + makeChain(3, chain[0].trail).enumerated().map { _, event in event }
    var fitting: [ChainedAuditEvent] = []
    for (index, event) in forged.enumerated() {
      var event = event
      (event.seq, event.prevHash) = (index + 1, fitting.last?.hash ?? .zero)
      fitting.append(event.hashed())
    }
    #expect(problems(fitting, head: fitting.head).isEmpty)
    #expect(problems(Array(chain.prefix(3)), head: Array(chain.prefix(3)).head).isEmpty)
    for seq in 3...5 {
      let kept = AuditHead(trail: chain[0].trail, seq: seq, hash: chain[seq - 1].hash)
      #expect(check(fitting, head: fitting.head, expecting: [kept]).count == 1)
      #expect(check(chain, head: chain.head, expecting: [kept]) == [.intact(chain.head!)])
    }
    let kept = AuditHead(trail: chain[0].trail, seq: 5, hash: chain[4].hash)
    let short = Array(chain.prefix(3))
    #expect(
      check(short, head: short.head, expecting: [kept]).last
        == .finding(AuditFinding(trail: kept.trail, seq: 5, problem: .notAsExpected(kept.hash))))
    #expect(check([], head: nil, expecting: [kept]).count == 1)
  }

  // MARK: Redactions

  /// A chain whose events with these numbers were redacted, as its last event records. `edit` changes the last event.
  private func redacted(_ seqs: [Int], of count: Int = 6, _ edit: (inout ChainedAuditEvent) -> Void = { _ in })
    -> [ChainedAuditEvent]
  {
    var chain = makeChain(count)
    var digest = AuditRedactionDigest()
    for seq in seqs {
      chain[seq - 1].actorName = PersonErasures.name
      chain[seq - 1].redactions.append(AuditRedaction(recordedBy: count + 1, hash: chain[seq - 1].computedHash))
      digest.add(chain[seq - 1], leaving: chain[seq - 1].computedHash)
    }
    var recorder = ChainedAuditEvent.sample(chain[0].trail, seq: count + 1, after: chain[count - 1].hash)
    recorder.action = AuditEvent.Action.auditRedacted.rawValue
    recorder.detail = digest.summary
    edit(&recorder)
    return chain + [recorder.hashed()]
  }

  @Test("redacted events that a later event records are intact, and are reported")
  func redactions() {
    let chain = redacted([2, 3, 6])
    #expect(
      check(chain, head: chain.head) == [
        .redaction(chain[0].trail, seq: 7, id: chain[6].id, eventCount: 3), .intact(chain.head!),
      ])
    var twice = AuditChainCheck()
    for event in chain { twice.take(event, head: chain.head) }
    twice.finish()
    #expect(twice.redactedCount == 3 && twice.findingCount == 0)
    // A head that was kept before is still valid.
    let kept = AuditHead(trail: chain[0].trail, seq: 6, hash: chain[5].hash)
    #expect(check(chain, head: chain.head, expecting: [kept]).last == .intact(chain.head!))
  }

  @Test("a redaction that is recorded in a reason, by a version without details, is intact")
  func redactionsInReasons() {
    let chain = redacted([2, 3, 6]) { ($0.reason, $0.detail) = ($0.detail, nil) }
    #expect(
      check(chain, head: chain.head) == [
        .redaction(chain[0].trail, seq: 7, id: chain[6].id, eventCount: 3), .intact(chain.head!),
      ])
  }

  @Test("a detail that is removed, added, edited or moved to another field is found, even with a recomputed hash")
  func movedDetails() {
    var chain: [ChainedAuditEvent] = []
    for seq in 1...4 {
      var event = ChainedAuditEvent.sample(.system, seq: seq, after: chain.last?.hash ?? .zero)
      if seq % 2 == 0 { event.detail = "from viewer to admin" } else { event.reason = "from viewer to admin" }
      chain.append(event.hashed())
    }
    #expect(check(chain, head: chain.head) == [.intact(chain.head!)])
    let changes: [(inout ChainedAuditEvent) -> Void] = [
      { ($0.reason, $0.detail) = ($0.detail, $0.reason) }, { ($0.ticket, $0.detail) = ($0.detail ?? "", nil) },
      { $0.detail = $0.detail == nil ? "" : nil }, { $0.detail = "from viewer to owner" },
    ]
    for index in chain.indices {
      for change in changes {
        var changed = chain
        change(&changed[index])
        #expect(problems(changed, head: chain.head) == ["\(index + 1) \(AuditFinding.Problem.edited)"])
        changed[index] = changed[index].hashed()
        let found = problems(changed, head: chain.head)
        #expect(found.count == 1 && found[0].hasPrefix(index < 3 ? "\(index + 2) " : "4 "), "\(found)")
      }
    }
  }

  @Test("an event that only claims to be redacted is found, whichever recording event it names")
  func claims() {
    for recorder in [Int.min, 1, 2, 5, 6, 7, .max] {
      var chain = makeChain(6)
      chain[1].actorName = "nobody"
      chain[1].redactions = [AuditRedaction(recordedBy: recorder, hash: chain[1].computedHash)]
      let found = problems(chain, head: chain.head)
      #expect(found == ["\(recorder) \(AuditFinding.Problem.unrecordedRedaction(first: 2, count: 1))"], "\(recorder)")
    }
  }

  @Test("redacted events must be those that are recorded, with the recorded hashes")
  func otherRedactions() {
    let other = "7 \(AuditFinding.Problem.otherRedaction)"
    let whole = redacted([2, 3])
    // The redaction is undone, so that the number of events is different.
    var chain = whole
    chain[1].redactions = []
    #expect(problems(chain, head: chain.head) == ["2 \(AuditFinding.Problem.edited)", other])
    // The event is edited again, with a recomputed hash.
    chain = whole
    chain[2].action = "y"
    #expect(problems(chain, head: chain.head) == ["3 \(AuditFinding.Problem.edited)"])
    chain[2].redactions[0].hash = chain[2].computedHash
    #expect(problems(chain, head: chain.head) == [other])
    // One more event claims to be redacted.
    chain = whole
    chain[3].redactions = [AuditRedaction(recordedBy: 7, hash: chain[3].computedHash)]
    #expect(problems(chain, head: chain.head) == [other])
    // The recording event has another digest, or another action.
    chain = redacted([2, 3]) { $0.detail = AuditRedactionDigest().summary }
    #expect(problems(chain, head: chain.head) == [other])
    // If it has a detail, its reason does not matter; if it has neither, nothing is recorded.
    chain = redacted([2, 3]) { ($0.reason, $0.detail) = ($0.detail, AuditRedactionDigest().summary) }
    #expect(problems(chain, head: chain.head) == [other])
    chain = redacted([2, 3]) { $0.detail = nil }
    #expect(problems(chain, head: chain.head) == [other])
    chain = redacted([2, 3]) { $0.action = "x" }
    #expect(
      problems(chain, head: chain.head) == [
        "7 \(AuditFinding.Problem.unrecordedRedaction(first: 2, count: 2))"
      ])
    chain = redacted([])
    #expect(problems(chain, head: chain.head) == [])
  }
}
