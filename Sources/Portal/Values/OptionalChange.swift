/// A change to an optional setting.
package enum OptionalChange<Value: Sendable & Equatable>: Sendable, Equatable {
  case keep
  case remove
  case set(Value)

  func apply(to value: inout Value?) {
    switch self {
    case .keep: break
    case .remove: value = nil
    case .set(let new): value = new
    }
  }
}
