/// The condition of a connection that is returned to its pool.
enum ConnectionCondition: UInt8 {
  /// A statement is still running, or a transaction is open.
  case inUse
  case reusable
  /// The server is committing a transaction that no caller waits for any more.
  case settling
}
