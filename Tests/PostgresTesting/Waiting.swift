import Foundation

package struct NeverHappened: Error, CustomStringConvertible {
  let what: String
  package var description: String { "within its time it never happened that \(what)" }
}

/// Whether this is `make soak`: what is shortened in every run of the tests is done in full.
package let isSoak = ProcessInfo.processInfo.environment["SOAK"] == "1"

/// What takes as long as this is wrong, however busy the machine; what should be quick takes milliseconds.
package let muchTooLong: Duration = .seconds(15)

/// Waits until `condition` holds: for as short as possible, and for a bounded time.
package func eventually(
  _ what: String, within limit: Duration = muchTooLong, _ condition: () async throws -> Bool
) async throws {
  let deadline = ContinuousClock.now + limit
  while try await !condition() {
    guard .now < deadline else { throw NeverHappened(what: what) }
    try await Task.sleep(for: .milliseconds(2))
  }
}
