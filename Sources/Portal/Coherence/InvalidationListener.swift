import Foundation
package import Postgres
import ServiceLifecycle

/// Follows the invalidation log on its own connection and applies it to the caches. Runs until shutdown, whatever
/// happens to the database.
package struct InvalidationListener: Service {
  package static let channel = "latchkey_invalidation"
  package static let applicationName = "latchkey listener"
  /// The maximum number of rows that one sync reads; if there are more, the caches are emptied instead.
  static let rowsPerSyncMax = 5_000

  private enum Signal: Sendable {
    case event(ListenerState.Event, generation: Int)
    case connection(PostgresConnection, generation: Int)
    /// Only the end of the latest wait counts; the others were cut short by a sync.
    case waitEnded(Int, generation: Int)
    case stop
  }

  let pool: PostgresPool
  /// Another URL of the primary, if the pool's goes through a pooler that can't LISTEN.
  let listenerURL: String?
  let instance: Instance
  let observer: Observer
  /// What else is listened to on the same connection: by channel, what is done with a payload.
  let otherChannels: [String: @Sendable (String) -> Void]
  let apply: @Sendable (SyncResult) -> SyncOutcome

  package init(
    pool: PostgresPool, listenerURL: String? = nil, instance: Instance, observer: Observer,
    otherChannels: [String: @Sendable (String) -> Void] = [:],
    apply: @escaping @Sendable (SyncResult) -> SyncOutcome
  ) {
    self.pool = pool
    self.listenerURL = listenerURL
    self.instance = instance
    self.observer = observer
    self.otherChannels = otherChannels
    self.apply = apply
  }

  package func run() async throws {
    let (signals, continuation) = AsyncStream.makeStream(of: Signal.self)
    await withGracefulShutdownHandler {
      await withTaskCancellationHandler {
        await follow(signals, continuation)
      } onCancel: {
        continuation.yield(.stop)
      }
    } onGracefulShutdown: {
      continuation.yield(.stop)
    }
  }

  private func follow(_ signals: AsyncStream<Signal>, _ continuation: AsyncStream<Signal>.Continuation) async {
    var session = Session(listener: self, signals: continuation)
    await withDiscardingTaskGroup { group in
      session.perform(session.state.handle(.started), in: &group)
      for await signal in signals {
        switch signal {
        case .stop:
          group.cancelAll()
          await session.end()
          return
        case .connection(let connection, let generation):
          await session.adopt(connection, generation, in: &group)
        case .event(let event, let generation):
          await session.receive(event, generation, in: &group)
        case .waitEnded(let wait, let generation):
          if wait == session.syncCount { await session.receive(.intervalEnded, generation, in: &group) }
        }
      }
    }
  }

  /// Runs the state machine: its actions are done in child tasks, whose ends come back as events. Each connection has a
  /// generation, so that late events of an earlier one are recognized.
  private struct Session {
    let listener: InvalidationListener
    let signals: AsyncStream<Signal>.Continuation
    var state = ListenerState()
    var connection: PostgresConnection?
    var generation = 0
    var syncCount = 0

    init(listener: InvalidationListener, signals: AsyncStream<Signal>.Continuation) {
      self.listener = listener
      self.signals = signals
    }

    mutating func adopt(
      _ connection: PostgresConnection, _ generation: Int, in group: inout DiscardingTaskGroup
    ) async {
      guard generation == self.generation else {
        await connection.close()
        return
      }
      self.connection = connection
      perform(state.handle(.connected), in: &group)
    }

    mutating func receive(
      _ event: ListenerState.Event, _ generation: Int, in group: inout DiscardingTaskGroup
    ) async {
      guard generation == self.generation else { return }
      if event == .failed {
        self.generation += 1
        await connection?.close()
        connection = nil
      }
      perform(state.handle(event), in: &group)
    }

    mutating func perform(_ action: ListenerState.Action, in group: inout DiscardingTaskGroup) {
      let (listener, signals, generation) = (listener, signals, generation)
      @Sendable func send(_ event: ListenerState.Event) { signals.yield(.event(event, generation: generation)) }
      switch action {
      case .none:
        break
      case .connect(let delay):
        group.addTask {
          // Cancelled only at the end, when nobody is waiting any more.
          try? await Task.sleep(for: delay)
          do {
            signals.yield(.connection(try await listener.connect(), generation: generation))
          } catch {
            listener.observer.observe(.listenerFailed("\(error)"))
            send(.failed)
          }
        }
      case .listen:
        guard let connection else { return }
        group.addTask { await listener.listen(on: connection, send) }
      case .sync:
        guard let connection else { return }
        syncCount += 1
        group.addTask { await listener.sync(on: connection, send) }
      case .wait(let interval):
        group.addTask { [syncCount] in
          do { try await Task.sleep(for: interval) } catch { return }
          signals.yield(.waitEnded(syncCount, generation: generation))
        }
      }
    }

    mutating func end() async {
      if let connection { await listener.deregister(on: connection) }
      connection = nil
    }
  }

  private func connect() async throws -> PostgresConnection {
    let connection = try await pool.openConnection(url: listenerURL, deadline: .seconds(3))
    do throws(PostgresError) {
      try await connection.executeScript(ListenerScript.opened)
      try await instance.register(on: connection)
      try await connection.executeScript(ListenerScript.registered)
    } catch {
      await connection.close()
      throw error
    }
    return connection
  }

  private func listen(on connection: PostgresConnection, _ send: @Sendable (ListenerState.Event) -> Void) async {
    do {
      let notifications = try await connection.listen(to: [Self.channel] + otherChannels.keys.sorted())
      observer.observe(.listening)
      send(.listening)
      for try await notification in notifications {
        if let note = otherChannels[notification.channel] { note(notification.payload) } else { send(.notified) }
      }
    } catch {
      observer.observe(.listenerFailed("\(error)"))
    }
    send(.failed)
  }

  private func sync(on connection: PostgresConnection, _ send: @Sendable (ListenerState.Event) -> Void) async {
    do {
      try await instance.sync(on: connection, rowsMax: Self.rowsPerSyncMax) { result in
        let outcome = apply(result)
        for _ in 0..<outcome.fillsStored { observer.observe(.fillStored) }
        for _ in 0..<outcome.fillsDiscarded { observer.observe(.fillDiscarded) }
        if outcome.isHistoryBroken { observer.observe(.historyBroken) }
        return outcome
      }
      observer.observe(.synced)
      send(.synced)
    } catch {
      observer.observe(.listenerFailed("\(error)"))
      send(.failed)
    }
  }

  private func deregister(on connection: PostgresConnection) async {
    // Best effort: a row that stays behind differs from a live one by its age.
    _ = try? await connection.execute(DeleteInstance(id: instance.id))
    await connection.close()
  }
}
