internal import CLibPQ

/// What a connection has sent of the batch under way, step by step, and the statements that it has prepared (PostgreSQL
/// manual 34.5).
struct Pipeline {
  /// What one result answers.
  enum Step {
    /// What stands before the statements of the batch.
    case opening(StatementLabel)
    case prepare(any PostgresStatement.Type, name: String)
    case execute(StatementLabel)

    var label: StatementLabel {
      switch self {
      case .prepare(let type, _): .type(type)
      case .opening(let label), .execute(let label): label
      }
    }
  }

  /// Whether statements are prepared under names.
  let preparesNames: Bool
  private var prepared: [ObjectIdentifier: String] = [:]
  private var preparedCount = 0
  private var steps: [Step] = []
  private var index = 0
  /// Whether the batch is a script, whose statements nobody has counted.
  private(set) var isScript = false

  init(preparesNames: Bool) { self.preparesNames = preparesNames }

  /// The step that the next result answers.
  var current: Step? { index < steps.count ? steps[index] : nil }

  /// Hands a batch to libpq, without flushing; false if that can't be. With `announcesCommit`, the server sends its
  /// results before it commits, not with the end of the batch.
  mutating func send(
    _ commands: [PostgresCommand], opening: [PostgresCommand], announcesCommit: Bool, on raw: OpaquePointer
  ) -> Bool {
    steps.removeAll(keepingCapacity: true)
    index = 0
    isScript = commands.first?.isScript == true
    return isScript ? sendScript(commands, opening, raw) : sendStatements(commands, opening, announcesCommit, raw)
  }

  /// The current step went well; whether its result is one that the caller asked for.
  mutating func succeeded() -> Bool {
    defer { advance() }
    switch current {
    case .execute?: return true
    case .prepare(let type, let name)?: prepared[ObjectIdentifier(type)] = name
    case .opening?, nil: break
    }
    return false
  }

  /// The current step failed, or was skipped after one that did.
  mutating func failed(sqlState: String?) {
    defer { advance() }
    // A plan that no longer fits (its result type changed under it), or that somebody deallocated, is prepared anew.
    guard sqlState == "0A000" || sqlState == "26000", case .type(let type)? = current?.label else { return }
    prepared[ObjectIdentifier(type)] = nil
  }

  private mutating func advance() {
    if !isScript { index += 1 }
  }

  // MARK: Sending

  private mutating func sendScript(
    _ commands: [PostgresCommand], _ opening: [PostgresCommand], _ raw: OpaquePointer
  ) -> Bool {
    guard commands.count == 1, case .script(let sql) = commands[0].kind else { return false }
    var script = ""
    for command in opening {
      guard let sql = command.text else { return false }
      script += sql + ";"
    }
    steps.append(.execute(commands[0].label))
    return PQexitPipelineMode(raw) == 1 && PQsendQuery(raw, script + sql) == 1
  }

  private mutating func sendStatements(
    _ commands: [PostgresCommand], _ opening: [PostgresCommand], _ announcesCommit: Bool, _ raw: OpaquePointer
  ) -> Bool {
    for command in opening {
      guard send(command, as: .opening(command.label), raw) else { return false }
    }
    for command in commands {
      guard send(command, as: .execute(command.label), raw) else { return false }
    }
    if announcesCommit, PQsendFlushRequest(raw) != 1 { return false }
    return PQpipelineSync(raw) == 1
  }

  private mutating func send(_ command: PostgresCommand, as step: Step, _ raw: OpaquePointer) -> Bool {
    switch command.kind {
    case .script:
      return false
    case .plain(let sql), .end(let sql):
      steps.append(step)
      return Self.sendPlain(sql, raw)
    case .prepared(let type) where !preparesNames:
      steps.append(step)
      return Self.sendUnnamed(type.sql, command.bindings, raw)
    case .prepared(let type):
      guard let name = preparedName(type) ?? sendPrepare(type, command.bindings, raw) else { return false }
      steps.append(step)
      return Self.sendExecute(name, command.bindings, raw)
    }
  }

  /// The name under which the statement has been prepared, or is being so by this batch.
  private func preparedName(_ type: any PostgresStatement.Type) -> String? {
    if let name = prepared[ObjectIdentifier(type)] { return name }
    for case .prepare(let other, let name) in steps where ObjectIdentifier(other) == ObjectIdentifier(type) {
      return name
    }
    return nil
  }

  private mutating func sendPrepare(
    _ type: any PostgresStatement.Type, _ bindings: PostgresBindings, _ raw: OpaquePointer
  ) -> String? {
    preparedCount += 1
    // PostgreSQL tells names apart by their first 63 bytes.
    let name = "\("\(type)".prefix(40))_\(preparedCount)"
    steps.append(.prepare(type, name: name))
    let types = bindings.values.map(\.type)
    return PQsendPrepare(raw, name, type.sql, Int32(types.count), types) == 1 ? name : nil
  }

  private static func sendPlain(_ sql: String, _ raw: OpaquePointer) -> Bool {
    PQsendQueryParams(raw, sql, 0, nil, nil, nil, nil, 1) == 1
  }

  private static func sendExecute(_ name: String, _ bindings: PostgresBindings, _ raw: OpaquePointer) -> Bool {
    withParameters(bindings) { count, values, lengths, formats in
      PQsendQueryPrepared(raw, name, count, values, lengths, formats, 1) == 1
    }
  }

  private static func sendUnnamed(_ sql: String, _ bindings: PostgresBindings, _ raw: OpaquePointer) -> Bool {
    withParameters(bindings) { count, values, lengths, formats in
      PQsendQueryParams(raw, sql, count, bindings.values.map(\.type), values, lengths, formats, 1) == 1
    }
  }

  private static func withParameters(
    _ bindings: PostgresBindings,
    _ body: (Int32, UnsafePointer<UnsafePointer<CChar>?>?, UnsafePointer<Int32>?, UnsafePointer<Int32>?) -> Bool
  ) -> Bool {
    let count = bindings.values.count
    return bindings.buffer.withUnsafeBytes { buffer in
      withUnsafeTemporaryAllocation(of: UnsafePointer<CChar>?.self, capacity: count) { addresses in
        withUnsafeTemporaryAllocation(of: Int32.self, capacity: 2 * count) { numbers in
          for (index, value) in bindings.values.enumerated() {
            // An empty value needs an address, too: nil would be NULL.
            let base = buffer.baseAddress ?? UnsafeRawPointer(addresses.baseAddress)
            let start = value.range.flatMap { base?.advanced(by: $0.lowerBound) }
            addresses.initializeElement(at: index, to: start?.assumingMemoryBound(to: CChar.self))
            numbers.initializeElement(at: index, to: Int32(value.range?.count ?? 0))
            numbers.initializeElement(at: count + index, to: 1)
          }
          let lengths = UnsafePointer(numbers.baseAddress)
          return body(Int32(count), UnsafePointer(addresses.baseAddress), lengths, lengths?.advanced(by: count))
        }
      }
    }
  }
}
