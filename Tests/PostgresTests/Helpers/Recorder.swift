import Synchronization

/// A list that many tasks append to.
final class Recorder<Element: Sendable>: Sendable {
  private let recorded = Mutex<[Element]>([])
  var elements: [Element] { recorded.withLock { $0 } }
  func append(_ element: Element) { recorded.withLock { $0.append(element) } }
}

/// A counter that many tasks increment.
final class Counter: Sendable {
  private let counted = Atomic<Int>(0)
  var count: Int { counted.load(ordering: .acquiring) }
  /// Returns the count, including this increment.
  @discardableResult
  func increment() -> Int { counted.add(1, ordering: .acquiringAndReleasing).newValue }
}
