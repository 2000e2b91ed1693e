import Synchronization

/// Lets equal values share memory: the keys of a cache have few different lists of scopes. Beyond `countMax` different
/// values, each keeps its own.
final class SharedValues<Value: Hashable & Sendable>: Sendable {
  private let countMax: Int
  private let values = Mutex<Set<Value>>([])

  init(countMax: Int) { self.countMax = countMax }

  func shared(_ value: Value) -> Value {
    values.withLock { values in
      if values.count < countMax { return values.insert(value).memberAfterInsert }
      return values.firstIndex(of: value).map { values[$0] } ?? value
    }
  }
}
