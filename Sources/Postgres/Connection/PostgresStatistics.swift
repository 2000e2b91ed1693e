import Synchronization

/// What a pool has done since it was made.
public final class PostgresStatistics: Sendable {
  private let statements = Atomic<Int>(0)
  private let batches = Atomic<Int>(0)

  init() {}

  /// Statements sent to the server.
  public var statementCount: Int { statements.load(ordering: .relaxed) }
  /// Round trips to the server.
  public var batchCount: Int { batches.load(ordering: .relaxed) }

  func sent(_ count: Int) {
    statements.wrappingAdd(count, ordering: .relaxed)
    batches.wrappingAdd(1, ordering: .relaxed)
  }
}
