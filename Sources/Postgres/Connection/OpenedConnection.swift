internal import CLibPQ

/// A connected `PGconn`, non-blocking and in pipeline mode, on its way from the thread that made it to its actor.
/// Finished by `deinit` unless taken.
struct OpenedConnection: ~Copyable {
  private var raw: OpaquePointer?
  let descriptor: Int32
  /// `server_version_num`.
  let serverVersion: Int32
  let notices: NoticeReceiver
  /// Whether a pooler is between, so that the session is not the connection's own.
  let isPooled: Bool

  /// Connects. Blocks (name look-up, every host of the list, TLS, authentication): never call it on an event loop.
  init(_ configuration: PostgresConfiguration) throws(PostgresError) {
    notices = NoticeReceiver(observe: configuration.observe)
    guard let raw = Self.connect(Self.parameters(configuration)) else {
      throw PostgresError(.connectFailed, "out of memory")
    }
    notices.attach(to: raw)
    do throws(PostgresError) {
      isPooled = try Self.prepare(raw, configuration)
    } catch {
      PQfinish(raw)
      throw error
    }
    self.raw = raw
    descriptor = PQsocket(raw)
    serverVersion = PQserverVersion(raw)
  }

  /// Connects, again if the server let us in and then terminated the connection: that says nothing of the next one.
  static func open(_ configuration: PostgresConfiguration) throws(PostgresError) -> OpenedConnection {
    for _ in 1..<attemptCountMax {
      do throws(PostgresError) { return try OpenedConnection(configuration) } catch  where error.hasNoEffect {}
    }
    return try OpenedConnection(configuration)
  }

  private static let attemptCountMax = 5

  deinit {
    if let raw { PQfinish(raw) }
  }

  /// Hands the connection to its owner.
  consuming func take() -> OpaquePointer? {
    let taken = raw
    raw = nil
    return taken
  }

  /// What libpq is told: our defaults, but for those that the connection string sets, and the connection string.
  static func parameters(_ configuration: PostgresConfiguration) -> [(String, String)] {
    let stated = keywords(in: configuration.url)
    let defaults = [
      ("fallback_application_name", configuration.applicationName),
      ("connect_timeout", "\(max(2, configuration.connectTimeout.components.seconds))"),
      ("tcp_user_timeout", "\(configuration.acknowledgementTimeout.milliseconds)"),
      ("client_encoding", "UTF8"),
      ("keepalives_idle", "15"), ("keepalives_interval", "5"), ("keepalives_count", "3"),
    ]
    return defaults.filter { !stated.contains($0.0) } + [("dbname", configuration.url)]
  }

  /// The keywords that a connection string sets; none if libpq cannot read it, as connecting will say.
  private static func keywords(in url: String) -> Set<String> {
    guard let options = PQconninfoParse(url, nil) else { return [] }
    defer { PQconninfoFree(options) }
    var keywords: Set<String> = []
    var option = options
    while let keyword = option.pointee.keyword {
      if option.pointee.val != nil { keywords.insert(String(cString: keyword)) }
      option += 1
    }
    return keywords
  }

  private static func connect(_ parameters: [(String, String)]) -> OpaquePointer? {
    withCStrings(parameters.map(\.0)) { keywords in
      withCStrings(parameters.map(\.1)) { values in PQconnectdbParams(keywords, values, 1) }
    }
  }

  /// Sets what holds for the session, if that is ours; whether it is not.
  ///
  /// A pooler tells its clients the process of none of its servers, so a session is ours if its process is the one that
  /// we were told of. Both happens in one statement, so that nothing is left on a server that is somebody else's next.
  private static func prepare(
    _ raw: OpaquePointer, _ configuration: PostgresConfiguration
  ) throws(PostgresError) -> Bool {
    guard PQstatus(raw) == CONNECTION_OK else { throw failure(raw) }
    let isPooled =
      configuration.preparing == .never ? "true" : "pg_backend_pid() <> \(PQbackendPID(raw))"
    let settings = configuration.settings.values.sorted { $0.key < $1.key }.map { name, value in
      "set_config('\(name)', \(PostgresConnection.quoteLiteral(value)), \(isPooled))"
    }
    let result = PQexec(raw, "select \(isPooled), " + settings.joined(separator: ", "))
    defer { PQclear(result) }
    guard PQresultStatus(result) == PGRES_TUPLES_OK, let answer = PQgetvalue(result, 0, 0),
      PQsetnonblocking(raw, 1) == 0, PQenterPipelineMode(raw) == 1
    else { throw failure(raw, sqlState: PQresultErrorField(result, sqlStateField).map { String(cString: $0) }) }
    return String(cString: answer) == "t"
  }

  // "C", PG_DIAG_SQLSTATE.
  private static let sqlStateField = Int32(UInt8(ascii: "C"))

  /// Whoever was let in before the attempt failed, as the process that is told of then shows, was terminated.
  private static func failure(_ raw: OpaquePointer, sqlState: String? = nil) -> PostgresError {
    var error = PostgresError(.connectFailed, String(cString: PQerrorMessage(raw)), sqlState: sqlState)
    error.hasNoEffect = sqlState == nil && PQbackendPID(raw) != 0 || sqlState == "57P01"
    return error
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

extension Duration {
  /// Rounded down.
  var milliseconds: Int64 { components.seconds * 1_000 + components.attoseconds / 1_000_000_000_000_000 }
}
