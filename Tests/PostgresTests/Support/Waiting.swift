import Synchronization

struct NeverHappened: Error, CustomStringConvertible {
  let what: String
  var description: String { "within its time it never happened that \(what)" }
}

/// Waits until `condition` holds: for as short as possible, and for a bounded time.
func eventually(
  _ what: String, within limit: Duration = .seconds(15), _ condition: () async throws -> Bool
) async throws {
  let deadline = ContinuousClock.now + limit
  while try await !condition() {
    guard .now < deadline else { throw NeverHappened(what: what) }
    try await Task.sleep(for: .milliseconds(2))
  }
}

/// A list that many tasks append to.
final class Recorder<Element: Sendable>: Sendable {
  private let recorded = Mutex<[Element]>([])
  var elements: [Element] { recorded.withLock { $0 } }
  func append(_ element: Element) { recorded.withLock { $0.append(element) } }
}

/// A number that many tasks count up.
final class Counter: Sendable {
  private let counted = Atomic<Int>(0)
  var count: Int { counted.load(ordering: .acquiring) }
  /// The count, this one included.
  @discardableResult
  func increment() -> Int { counted.add(1, ordering: .acquiringAndReleasing).newValue }
}
