package import Foundation

/// An inconsistency in a trail.
package struct AuditFinding: Sendable, Equatable {
  package enum Problem: Sendable, Equatable {
    /// The hash does not match the fields.
    case edited
    /// The previous hash is not that of the event before it.
    case unlinked
    /// Events before it are missing.
    case missingBefore(ClosedRange<Int>)
    /// Its number is not greater than that of the event before it.
    case repeated
    /// The chain ends before its head.
    case missingAtEnd(ClosedRange<Int>)
    /// The event comes after the head of the chain.
    case beyondHead
    /// The head of the chain does not have the hash of the last event.
    case otherHead
    case noHead
    /// An expected event is missing, or has another hash.
    case notAsExpected(AuditHash)
    /// The redactions that it records are not those of the events that refer to it.
    case otherRedaction
    /// Redacted events refer to it, and it is missing or records no redaction.
    case unrecordedRedaction(first: Int, count: Int)
  }

  package var trail: AuditTrail
  /// The number of the event, unless the finding concerns the whole chain.
  package var seq: Int?
  /// The id of the event, if it exists.
  package var id: UUID?
  package var problem: Problem
}

extension AuditFinding.Problem: CustomStringConvertible {
  package var description: String {
    switch self {
    case .edited: "its fields do not match its hash: it was edited"
    case .unlinked: "does not continue the event before it: one of them was replaced, or the order was changed"
    case .missingBefore(let range): "\(Self.text(range)) missing before it"
    case .repeated: "its number is taken or out of order: it was inserted, or moved"
    case .missingAtEnd(let range): "\(Self.text(range)) missing at the end"
    case .beyondHead: "is beyond the chain's head: it was inserted, or the head was set back"
    case .otherHead: "the chain's head has another hash: the last event was replaced, or the head was edited"
    case .noHead: "the chain has no head: it was removed"
    case .notAsExpected(let hash): "does not have the expected hash, \(hash)"
    case .otherRedaction: "does not match the redacted events that refer to it: they were edited afterwards"
    case .unrecordedRedaction(let first, let count):
      "records no redaction, but event \(first)\(count > 1 ? " and \(count - 1) more refer" : " refers") to it"
    }
  }

  private static func text(_ range: ClosedRange<Int>) -> String {
    range.count == 1 ? "event \(range.lowerBound) is" : "events \(range.lowerBound) to \(range.upperBound) are"
  }
}

/// The results of a verification, in their order.
package enum AuditOutcome: Sendable, Equatable {
  case finding(AuditFinding)
  /// An event records that `eventCount` others were redacted, and they are redacted as recorded.
  case redaction(AuditTrail, seq: Int, id: UUID, eventCount: Int)
  /// A chain has ended without a finding.
  case intact(AuditHead)
}

/// Checks chains event by event. Events must arrive chain by chain, in the order of their numbers.
struct AuditChainCheck {
  private(set) var chainCount = 0
  private(set) var eventCount = 0
  private(set) var findingCount = 0
  private(set) var redactedCount = 0
  private var expected: [AuditTrail: [Int: AuditHash]]
  private var trail: AuditTrail?
  // The head of this chain, if there is one, and the last event that was taken.
  private var head: AuditHead?
  private var seq = 0
  private var hash = AuditHash.zero
  private var lastID: UUID?
  private var isIntact = true
  /// By the number of the event that has to record them.
  private var redactions: [Int: AuditRedactionDigest] = [:]
  private var outcomes: [AuditOutcome] = []

  init(expecting heads: some Sequence<AuditHead> = []) {
    expected = Dictionary(grouping: heads, by: \.trail).mapValues { heads in
      Dictionary(heads.map { ($0.seq, $0.hash) }) { first, _ in first }
    }
  }

  /// The outcomes since the last call.
  mutating func takeOutcomes() -> [AuditOutcome] {
    defer { outcomes = [] }
    return outcomes
  }

  /// Takes the next event, with the head of its chain.
  mutating func take(_ event: ChainedAuditEvent, head: AuditHead?) {
    if trail != event.trail {
      endChain()
      begin(event.trail, head)
    }
    eventCount += 1
    // In this order no difference overflows, whatever numbers somebody has put there.
    if event.seq <= seq {
      find(.repeated, event.seq, event.id)
    } else if event.seq - seq > 1 {
      find(.missingBefore(seq + 1...event.seq - 1), event.seq, event.id)
    } else if event.prevHash != hash {
      find(.unlinked, event.seq, event.id)
    }
    if event.computedHash != event.redactions.last?.hash ?? event.hash { find(.edited, event.seq, event.id) }
    takeRedactions(of: event)
    if let head, event.seq > head.seq { find(.beyondHead, event.seq, event.id) }
    if let wanted = expected[event.trail]?.removeValue(forKey: event.seq), wanted != event.hash {
      find(.notAsExpected(wanted), event.seq, event.id)
    }
    (seq, hash, lastID) = (max(seq, event.seq), event.hash, event.id)
  }

  /// Redacted events precede the event that records them.
  private mutating func takeRedactions(of event: ChainedAuditEvent) {
    let digest = redactions.removeValue(forKey: event.seq)
    if event.action == AuditEvent.Action.auditRedacted.rawValue {
      let digest = digest ?? AuditRedactionDigest()
      if digest.matches(event) {
        outcomes.append(
          .redaction(event.trail, seq: event.seq, id: event.id, eventCount: digest.eventCount))
      } else {
        find(.otherRedaction, event.seq, event.id)
      }
    } else if let digest {
      find(.unrecordedRedaction(first: digest.firstSeq, count: digest.eventCount), event.seq, event.id)
    }
    if !event.redactions.isEmpty { redactedCount += 1 }
    for redaction in event.redactions {
      redactions[redaction.recordedBy, default: AuditRedactionDigest()].add(event, leaving: redaction.hash)
    }
  }

  /// Takes a head without any events.
  mutating func take(emptyChainOf head: AuditHead) {
    endChain()
    begin(head.trail, head)
    endChain()
  }

  /// Ends the last chain. Expected events that were not taken are findings.
  mutating func finish() {
    endChain()
    for (trail, hashes) in expected {
      self.trail = trail
      for (seq, hash) in hashes.sorted(by: { $0.key < $1.key }) { find(.notAsExpected(hash), seq, nil) }
    }
    (trail, expected) = (nil, [:])
  }

  private mutating func begin(_ trail: AuditTrail, _ head: AuditHead?) {
    chainCount += 1
    (self.trail, self.head, seq, hash, lastID, isIntact) = (trail, head, 0, .zero, nil, true)
    redactions = [:]
  }

  private mutating func endChain() {
    guard let trail else { return }
    if let head {
      if head.seq > seq {
        find(.missingAtEnd(seq + 1...head.seq), nil, nil)
      } else if head.seq == seq, head.hash != hash {
        find(.otherHead, seq, lastID)
      }
    } else {
      find(.noHead, nil, nil)
    }
    for (recorder, digest) in redactions.sorted(by: { $0.key < $1.key }) {
      find(.unrecordedRedaction(first: digest.firstSeq, count: digest.eventCount), recorder, nil)
    }
    redactions = [:]
    if isIntact { outcomes.append(.intact(AuditHead(trail: trail, seq: seq, hash: hash))) }
    self.trail = nil
  }

  private mutating func find(_ problem: AuditFinding.Problem, _ seq: Int?, _ id: UUID?) {
    guard let trail else { return }
    isIntact = false
    findingCount += 1
    outcomes.append(.finding(AuditFinding(trail: trail, seq: seq, id: id, problem: problem)))
  }
}
