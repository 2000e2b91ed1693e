import Foundation

package struct NeverHappened: Error, CustomStringConvertible {
  let what: String
  package var description: String { "it did not happen in time that \(what)" }
}

/// Whether this is `make soak`: tests that are shortened in ordinary runs are run in full.
package let isSoak = ProcessInfo.processInfo.environment["SOAK"] == "1"

/// A limit after which something is wrong, however busy the machine; what should be quick takes milliseconds.
package let muchTooLong: Duration = .seconds(15)

/// Waits until `condition` is true: no longer than necessary, and for a bounded time.
package func eventually(
  _ what: String, within limit: Duration = muchTooLong, _ condition: () async throws -> Bool
) async throws {
  let deadline = ContinuousClock.now + limit
  while try await !condition() {
    guard .now < deadline else { throw NeverHappened(what: what) }
    try await Task.sleep(for: .milliseconds(2))
  }
}
