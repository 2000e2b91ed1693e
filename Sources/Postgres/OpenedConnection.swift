internal import CLibPQ

/// A connected `PGconn`, non-blocking and in pipeline mode, on its way from the thread that made it to its actor.
/// Finished by `deinit` unless taken.
struct OpenedConnection: ~Copyable {
  private var raw: OpaquePointer?
  let descriptor: Int32
  /// `server_version_num`.
  let serverVersion: Int32

  /// Connects. Blocks (name look-up, every host of the list, TLS, authentication): never call it on an event loop.
  init(_ configuration: PostgresConfiguration) throws(PostgresError) {
    let parameters: [(String, String)] = [
      ("fallback_application_name", configuration.applicationName),
      ("connect_timeout", "\(max(2, configuration.connectTimeout.components.seconds))"),
      ("client_encoding", "UTF8"),
      ("keepalives_idle", "15"), ("keepalives_interval", "5"), ("keepalives_count", "3"),
      // The last one, so that what the connection string says wins over the defaults above.
      ("dbname", configuration.url),
    ]
    guard let raw = Self.connect(parameters) else { throw PostgresError(.connectFailed, "out of memory") }
    do throws(PostgresError) {
      try Self.prepare(raw, configuration)
    } catch {
      PQfinish(raw)
      throw error
    }
    self.raw = raw
    descriptor = PQsocket(raw)
    serverVersion = PQserverVersion(raw)
  }

  deinit {
    if let raw { PQfinish(raw) }
  }

  /// Hands the connection to its owner.
  consuming func take() -> OpaquePointer? {
    let taken = raw
    raw = nil
    return taken
  }

  private static func connect(_ parameters: [(String, String)]) -> OpaquePointer? {
    withCStrings(parameters.map(\.0)) { keywords in
      withCStrings(parameters.map(\.1)) { values in PQconnectdbParams(keywords, values, 1) }
    }
  }

  private static func prepare(
    _ raw: OpaquePointer, _ configuration: PostgresConfiguration
  ) throws(PostgresError) {
    guard PQstatus(raw) == CONNECTION_OK else {
      throw PostgresError(.connectFailed, String(cString: PQerrorMessage(raw)))
    }
    PQsetNoticeReceiver(raw, { _, _ in }, nil)
    let timeout = configuration.statementTimeout.components
    let milliseconds = timeout.seconds * 1_000 + timeout.attoseconds / 1_000_000_000_000_000
    var setUp = "set statement_timeout = \(milliseconds); set timezone = 'UTC'"
    if let role = configuration.role { setUp += "; set role \(PostgresConnection.quoteIdentifier(role))" }
    let result = PQexec(raw, setUp)
    defer { PQclear(result) }
    guard PQresultStatus(result) == PGRES_COMMAND_OK, PQsetnonblocking(raw, 1) == 0, PQenterPipelineMode(raw) == 1
    else { throw PostgresError(.connectFailed, String(cString: PQerrorMessage(raw))) }
  }

  /// Calls `body` with a NULL-terminated array of C strings.
  private static func withCStrings<Value>(
    _ strings: [String], _ body: (UnsafePointer<UnsafePointer<CChar>?>) -> Value
  ) -> Value {
    let bytes = strings.map { Array($0.utf8CString) }
    let joined = bytes.flatMap { $0 }
    return joined.withUnsafeBufferPointer { buffer in
      var offset = 0
      var pointers: [UnsafePointer<CChar>?] = bytes.map { string in
        defer { offset += string.count }
        return buffer.baseAddress?.advanced(by: offset)
      }
      pointers.append(nil)
      return pointers.withUnsafeBufferPointer { pointers in
        // Safe: the array holds at least its terminator.
        // swift-format-ignore: NeverForceUnwrap
        body(pointers.baseAddress!)
      }
    }
  }
}
