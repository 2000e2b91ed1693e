import Foundation

@testable import Portal

extension ChainedAuditEvent {
  /// The event with the hash of its fields.
  func hashed() -> ChainedAuditEvent {
    var event = self
    event.hash = computedHash
    return event
  }

  static func sample(_ trail: AuditTrail, seq: Int = 1, after prevHash: AuditHash = .zero) -> ChainedAuditEvent {
    ChainedAuditEvent(
      trail: trail, seq: seq, id: .version7(), atMicroseconds: 1_769_860_800_000_000 + seq, actorKind: "user",
      actorID: .version7(), actorName: "ada@example.com", action: "key.created", targetKind: "key",
      targetID: .version7(), reason: nil, ticket: nil, ip: nil, prevHash: prevHash, hash: .zero
    ).hashed()
  }
}

/// A chain of `count` events.
func makeChain(_ count: Int, _ trail: AuditTrail = .account(.version7())) -> [ChainedAuditEvent] {
  var chain: [ChainedAuditEvent] = []
  for seq in 1...count { chain.append(.sample(trail, seq: seq, after: chain.last?.hash ?? .zero)) }
  return chain
}

extension [ChainedAuditEvent] {
  var head: AuditHead? { last.map { AuditHead(trail: $0.trail, seq: $0.seq, hash: $0.hash) } }
}
