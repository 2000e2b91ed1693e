internal import CLibPQ
import Synchronization

/// Where libpq delivers the notices of one connection: on whichever thread works on it.
final class NoticeReceiver: Sendable {
  private struct State {
    var parting: PostgresNotice?
    var missingStandby: PostgresNotice?
  }

  private let observe: @Sendable (PostgresEvent) -> Void
  private let state = Mutex(State())

  init(observe: @escaping @Sendable (PostgresEvent) -> Void) { self.observe = observe }

  /// Must outlive the connection.
  func attach(to raw: OpaquePointer) {
    PQsetNoticeReceiver(
      raw,
      { context, result in
        guard let context, let result else { return }
        Unmanaged<NoticeReceiver>.fromOpaque(context).takeUnretainedValue().receive(PostgresNotice(result: result))
      }, Unmanaged.passUnretained(self).toOpaque())
  }

  /// What the server said before it ended the connection.
  var parting: PostgresNotice? { state.withLock { $0.parting } }

  /// That the commit under way has no standby, if that was said since the last call.
  func takeMissingStandby() -> PostgresNotice? {
    state.withLock { state in
      defer { state.missingStandby = nil }
      return state.missingStandby
    }
  }

  private func receive(_ notice: PostgresNotice) {
    state.withLock { state in
      if notice.isParting { state.parting = notice }
      if notice.tellsOfMissingStandby { state.missingStandby = notice }
    }
    observe(.notice(notice))
  }
}

extension PostgresNotice {
  fileprivate init(result: OpaquePointer) {
    func field(_ code: Character) -> String? {
      PQresultErrorField(result, Int32(code.asciiValue ?? 0)).map { String(cString: $0) }
    }
    self.init(
      field("V").flatMap(Severity.init(rawValue:)) ?? .notice,
      field("M") ?? String(cString: PQresultErrorMessage(result)), sqlState: field("C") ?? "",
      sourceFunction: field("R"))
  }
}
