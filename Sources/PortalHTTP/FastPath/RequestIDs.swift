import Synchronization

/// Ids for answers: random for the process, then counted. As long as the framework's.
final class RequestIDs: Sendable {
  private let prefix = UInt64.random(in: .min ... .max)
  private let next = Atomic<UInt64>(.random(in: .min ... .max))

  func append(to bytes: inout [UInt8]) {
    bytes.append(hex: prefix)
    bytes.append(hex: next.wrappingAdd(1, ordering: .relaxed).oldValue)
  }
}
