/// What `notify channel, 'payload'` sent.
public struct PostgresNotification: Sendable, Hashable {
  public var channel: String
  public var payload: String
}

/// The writing end of a connection's notifications: bounded, and never silently lossy.
struct NotificationSink {
  /// Notifications that may wait for their reader; one more closes the connection.
  static let bufferMax = 10_000

  private let continuation: AsyncThrowingStream<PostgresNotification, any Error>.Continuation

  static func make() -> (NotificationSink, AsyncThrowingStream<PostgresNotification, any Error>) {
    let (stream, continuation) = AsyncThrowingStream.makeStream(
      of: PostgresNotification.self, bufferingPolicy: .bufferingOldest(bufferMax))
    return (NotificationSink(continuation: continuation), stream)
  }

  /// False when the buffer was full and the notification dropped.
  func yield(_ notification: PostgresNotification) -> Bool {
    if case .dropped = continuation.yield(notification) { return false }
    return true
  }

  func finish(_ error: PostgresError) {
    continuation.finish(throwing: error)
  }
}
