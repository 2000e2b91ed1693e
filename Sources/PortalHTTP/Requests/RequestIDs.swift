import JSON
import Synchronization

/// Ids for answers, 32 hexadecimal digits: a random prefix per instance of this class, then a counter.
package final class RequestIDs: Sendable {
  private let prefix = UInt64.random(in: .min ... .max)
  private let counter = Atomic<UInt64>(.random(in: .min ... .max))

  package func append(to bytes: inout [UInt8]) {
    bytes.append(hex: prefix)
    bytes.append(hex: counter.wrappingAdd(1, ordering: .relaxed).oldValue)
  }

  package func next() -> String {
    var bytes: [UInt8] = []
    append(to: &bytes)
    return String(decoding: bytes, as: UTF8.self)
  }
}
