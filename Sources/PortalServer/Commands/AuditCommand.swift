import ArgumentParser
import Foundation
import JSON
import Portal
import PortalAPI
import PortalHTTP
import Postgres

extension AuditEvent.Action: ExpressibleByArgument {}

struct AuditCommand: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "audit", abstract: "Verify and export the audit trails.", subcommands: [Verify.self, Export.self])

  struct Verify: AsyncParsableCommand {
    /// The maximum number of findings in the JSON object; its count includes all.
    private static let findingCountMax = 1_000
    /// The maximum number of redactions in the JSON object.
    private static let redactionCountMax = 1_000
    private static let progressInterval: Duration = .seconds(5)

    static let configuration = CommandConfiguration(
      abstract: "Recompute the hashes of all events, and report what does not match.",
      discussion: """
        Exits with status 1 if anything is wrong. The database alone cannot show that its last events and the head of \
        their chain were removed together: keep the heads elsewhere (--heads), and check them later (--expect-file). \
        Nor can it show whether a redaction was legitimate: each is printed, with the event that records it.
        """)

    @OptionGroup var options: ConfigurationOptions
    @Option(
      help: ArgumentHelp("Only the chain of this account, or system.", valueName: "id"),
      transform: ValidationError.parse(trail:))
    var account: AuditTrail?
    @Option(
      help: ArgumentHelp(
        "An event that must exist with this hash; can be repeated.", valueName: "account:seq:hash"),
      transform: AuditHead.init(argument:))
    var expect: [AuditHead] = []
    @Option(help: ArgumentHelp("A file of such events, one per line, as written by --heads.", valueName: "file"))
    var expectFile: String?
    @Option(
      help: ArgumentHelp("Write the last event of each intact chain to this new file.", valueName: "file"))
    var heads: String?

    func run() async throws {
      var configuration = try await options.load()
      // A long trail takes a long time, and PostgreSQL may have to sort it first.
      configuration.database.queryTimeout = .seconds(86_400)
      configuration.database.statementTimeout = .zero
      let expected = try expect + readExpected()
      for head in expected {
        guard account == nil || head.trail == account else {
          throw ValidationError("--expect names \(head.trail), which --account excludes.")
        }
      }
      let file = try makeHeadsFile()
      try await reportingFailure { try await verify(configuration.database, expected, file) }
    }

    private func verify(_ database: PostgresConfiguration, _ expected: [AuditHead], _ file: FileHandle?) async throws {
      var findings: [AuditFinding] = []
      var redactions: [(trail: AuditTrail, seq: Int, id: UUID, eventCount: Int)] = []
      var head: AuditHead?
      var nextProgress = ContinuousClock.now + Self.progressInterval
      let verification = try await PostgresPool.with(database.with(.portal)) { pool in
        try await AuditChains(pool: pool).verify(account, expecting: expected) { eventCount in
          guard ContinuousClock.now >= nextProgress else { return }
          nextProgress = .now + Self.progressInterval
          FileHandle.standardError.write(Data("\(eventCount) events so far\n".utf8))
        } _: { outcome in
          switch outcome {
          case .finding(let finding):
            if !options.json { Swift.print(TerminalText.lines(finding.text)) }
            if findings.count < Self.findingCountMax { findings.append(finding) }
          case .redaction(let trail, let seq, let id, let eventCount):
            if !options.json {
              Swift.print("\(trail) event \(seq) (\(id.text)): redacted \(eventCount) events")
            }
            if redactions.count < Self.redactionCountMax { redactions.append((trail, seq, id, eventCount)) }
          case .intact(let intact):
            if account != nil { head = intact }
            try file?.write(contentsOf: Data("\(intact)\n".utf8))
          }
        }
      }
      Output(isJSON: options.json).print(
        Self.text(verification, head),
        json: .object { json in
          json.field("intact", verification.isIntact)
          json.field("chains", verification.chainCount)
          json.field("events", verification.eventCount)
          json.field("findingCount", verification.findingCount)
          json.array("findings", findings) { $0.object($1) }
          json.field("redactedEvents", verification.redactedCount)
          json.array("redactions", redactions) { json, redaction in
            json.object { json in
              json.field("account", redaction.trail.description)
              json.field("seq", redaction.seq)
              json.field("id", redaction.id)
              json.field("events", redaction.eventCount)
            }
          }
          if account != nil { json.field("head", head.map(\.description)) }
        })
      if !verification.isIntact { throw ExitCode.failure }
    }

    private static func text(_ verification: AuditVerification, _ head: AuditHead?) -> String {
      let amount = "\(verification.eventCount) events in \(verification.chainCount) chains"
      if !verification.isIntact { return "BROKEN: \(verification.findingCount) findings in \(amount)" }
      let redacted = verification.redactedCount > 0 ? ", \(verification.redactedCount) of them redacted" : ""
      return "intact: \(amount)\(redacted)" + (head.map { ", head \($0)" } ?? "")
    }

    private func readExpected() throws -> [AuditHead] {
      guard let expectFile else { return [] }
      guard let text = try? String(contentsOfFile: expectFile, encoding: .utf8) else {
        throw ValidationError("cannot read --expect-file \(expectFile)")
      }
      return try text.split(separator: "\n").map { try AuditHead(argument: String($0)) }
    }

    /// Returns nil without `--heads`. An existing file is not overwritten, because it may be the one to compare with
    /// later.
    private func makeHeadsFile() throws -> FileHandle? {
      guard let heads else { return nil }
      guard !FileManager.default.fileExists(atPath: heads),
        FileManager.default.createFile(atPath: heads, contents: nil),
        let file = FileHandle(forWritingAtPath: heads)
      else { throw ValidationError("--heads must name a file that does not exist and can be created: \(heads)") }
      return file
    }
  }

  struct Export: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
      abstract: "Print events as JSON Lines, chain by chain, with the hashes that chain them.",
      discussion:
        "Exports all chains unless --account names one. docs/AUDIT.md describes how to verify them with another tool.")

    @OptionGroup var options: SettingsOptions
    @Option(
      help: ArgumentHelp("Only the chain of this account, or system.", valueName: "id"),
      transform: ValidationError.parse(trail:))
    var account: AuditTrail?
    @Option(
      help: ArgumentHelp("Only events of this actor: an id, user, staff, command, job or token.", valueName: "actor"),
      transform: AuditFilter.ByActor.init(argument:))
    var actor: AuditFilter.ByActor?
    @Option(help: "Only events of this action, such as key.revoked.") var action: AuditEvent.Action?
    @Option(
      help: ArgumentHelp("Only events with this target.", valueName: "id"), transform: ValidationError.parse(id:))
    var target: UUID?
    @Option(
      help: ArgumentHelp("Only events from this time on, such as 2026-01-31T00:00:00Z.", valueName: "time"),
      transform: ValidationError.parse(time:))
    var from: Date?
    @Option(
      help: ArgumentHelp("Only events before this time.", valueName: "time"), transform: ValidationError.parse(time:))
    var to: Date?

    func run() async throws {
      let configuration = try await options.load()
      let filter = AuditFilter(actor: actor, action: action, targetID: target, from: from, to: to)
      try await reportingFailure {
        try await PostgresPool.with(configuration.database.with(.portal)) { pool in
          let events = AuditEvents(pool: pool)
          if let account { return try await export(account, events, filter) }
          var last: AuditTrail?
          repeat {
            let trails = try await events.trails(after: last)
            for trail in trails { try await export(trail, events, filter) }
            last = trails.last
          } while last != nil
        }
      }
    }

    private func export(_ trail: AuditTrail, _ events: AuditEvents, _ filter: AuditFilter) async throws {
      var json = JSONWriter()
      try await events.export(trail, filter).read { page in
        json.clear()
        json.lines(of: page)
        try FileHandle.standardOutput.write(contentsOf: Data(TerminalText.json(json.bytes)))
      }
    }
  }
}

extension AuditFinding {
  fileprivate var text: String {
    let event = seq.map { " event \($0)" } ?? ""
    return "\(trail)\(event)\(id.map { " (\($0.text))" } ?? ""): \(problem)"
  }
}

extension JSONWriter {
  fileprivate mutating func object(_ finding: AuditFinding) {
    object { json in
      json.field("account", finding.trail.description)
      json.field("seq", finding.seq)
      json.field("id", finding.id)
      json.field("problem", finding.problem.description)
    }
  }
}

extension AuditHead {
  fileprivate init(argument text: String) throws {
    guard let head = AuditHead(text: text) else {
      throw ValidationError("\(text) is not of the form ACCOUNT:SEQ:HASH.")
    }
    self = head
  }
}

extension AuditFilter.ByActor {
  fileprivate init(argument text: String) throws {
    guard let actor = AuditFilter.ByActor(text) else {
      throw ValidationError("--actor must be a UUID, user, staff, command, job or token.")
    }
    self = actor
  }
}

extension ValidationError {
  static func parse(time text: String) throws -> Date {
    guard let time = Timestamp.date(from: text) else { throw ValidationError("\(text) is not an RFC 3339 time.") }
    return time
  }
}
