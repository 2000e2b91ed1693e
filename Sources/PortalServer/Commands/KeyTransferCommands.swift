import ArgumentParser
import Foundation
import JSON
import Portal
import PortalAPI
import PortalHTTP
import Postgres

extension KeysCommand {
  struct Import: AsyncParsableCommand {
    /// In bytes: more than a line with the longest values.
    private static let lineLengthMax = 64 << 10
    private static let problemCountMax = 20

    static let configuration = CommandConfiguration(
      commandName: "import", abstract: "Import keys of another system by their hashes.",
      discussion: """
        FILE has one JSON object per line, with the members of a key in POST /v1/keys/import. A thousand keys are \
        imported at a time: all of them or none. The first lines that are refused end the command, with their numbers; \
        what was imported before stays. Repeat the command after correcting them, or after an interruption: keys that \
        are there already stay as they are.
        """)

    @OptionGroup var options: ConfigurationOptions
    @Argument(help: "A file of JSON Lines, or - for standard input.") var file: String

    func run() async throws {
      let configuration = try await options.load()
      try await reportingFailure {
        let input = try InputLines(file, lineLengthMax: Self.lineLengthMax)
        var progress = ProgressBar("keys imported", total: input.size)
        var (imported, existing) = (0, 0)
        try await PostgresPool.with(configuration.database.with(.portal)) { pool in
          let imports = KeyImports(pool: pool, keys: configuration.makeKeys(pool))
          while let chunk = try Self.chunk(of: input) {
            do {
              let result = try await imports.importKeys(chunk.rows, by: commandCaller)
              imported += result.newCount
              existing += result.rows.count - result.newCount
            } catch PortalError.invalid(let problems) {
              progress.end()
              throw Refusal(
                problems.map { problem in
                  guard case .row(let index, let field) = problem.field, chunk.lines.indices.contains(index) else {
                    return "\(problem.field.name) \(problem.message)"
                  }
                  return "line \(chunk.lines[index]): \(field.name) \(problem.message)"
                })
            }
            progress.advance(to: input.readCount, count: imported + existing)
          }
        }
        progress.end()
        Output(isJSON: options.json).print(
          "imported \(imported) keys; \(existing) were there already",
          json: .object { json in
            json.field("imported", imported)
            json.field("existing", existing)
          })
      }
    }

    /// The next keys and the numbers of their lines; nil at the end. Empty lines are skipped.
    private static func chunk(of input: InputLines) throws -> (rows: [KeyImport], lines: [Int])? {
      var (rows, lines, problems): ([KeyImport], [Int], [String]) = ([], [], [])
      while rows.count < KeyImport.countMax, let line = try input.next() {
        if line.bytes.allSatisfy({ $0 == UInt8(ascii: " ") || $0 == UInt8(ascii: "\r") }) { continue }
        do throws(JSONError) {
          guard case .object(let members) = try JSONParser.parse(line.bytes) else {
            problems.append("line \(line.number): must be an object")
            continue
          }
          var fields = RequestFields(members, location: "line \(line.number)")
          let row = fields.keyImport()
          problems += fields.finalProblems.map { "\($0.location) \($0.message)" }
          if let row, fields.finalProblems.isEmpty {
            rows.append(row)
            lines.append(line.number)
          }
        } catch {
          problems.append("line \(line.number): is not valid JSON: \(error.message) at byte \(error.offset)")
        }
        if problems.count >= problemCountMax { break }
      }
      if !problems.isEmpty { throw Refusal(problems) }
      return rows.isEmpty ? nil : (rows, lines)
    }

    /// Why lines were refused.
    private struct Refusal: Error, CustomStringConvertible {
      let description: String

      init(_ problems: [String]) { description = problems.prefix(problemCountMax).joined(separator: "\n") }
    }
  }

  struct Export: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
      commandName: "export", abstract: "Export all keys as JSON Lines, with their hashes.",
      discussion: """
        Each line has the settings of a key and its hash, which does not lead back to the key. The export is in the \
        system's audit trail. With --json, a summary follows on standard error.
        """)

    @OptionGroup var options: ConfigurationOptions

    func run() async throws {
      var configuration = try await options.load()
      configuration.database.queryTimeout = .seconds(86_400)
      configuration.database.statementTimeout = .zero
      let isJSON = options.json
      try await reportingFailure {
        var progress = ProgressBar("keys exported", total: nil)
        var count = 0
        try await PostgresPool.with(configuration.database.with(.portal)) { pool in
          try await KeyExports(pool: pool).export(by: commandCaller).read { keys in
            var json = JSONWriter()
            for key in keys { json.line { $0.fields(of: key) } }
            try FileHandle.standardOutput.write(contentsOf: Data(json.bytes))
            count += keys.count
            progress.advance(to: 0, count: count)
          }
        }
        progress.end()
        if isJSON {
          let summary = JSONWriter.object { $0.field("exported", count) }
          FileHandle.standardError.write(Data(summary.bytes + [UInt8(ascii: "\n")]))
        }
      }
    }
  }
}

/// The lines of a file or of standard input, read a little at a time.
private final class InputLines {
  private static let readSize = 1 << 16

  /// In bytes; nil if that is not known.
  let size: Int?
  private(set) var readCount = 0
  private let handle: FileHandle
  private let lineLengthMax: Int
  private var buffer: [UInt8] = []
  private var position = 0
  private var number = 0
  private var isAtEnd = false

  init(_ path: String, lineLengthMax: Int) throws {
    self.lineLengthMax = lineLengthMax
    if path == "-" {
      handle = .standardInput
      size = nil
    } else {
      handle = try FileHandle(forReadingFrom: URL(filePath: path))
      size = (try FileManager.default.attributesOfItem(atPath: path)[.size] as? NSNumber)?.intValue
    }
  }

  /// Nil at the end. Throws for a line that is too long.
  func next() throws -> (number: Int, bytes: [UInt8])? {
    while true {
      if let end = buffer[position...].firstIndex(of: UInt8(ascii: "\n")) {
        return take(position..<end, next: end + 1)
      }
      if isAtEnd { return position < buffer.count ? take(position..<buffer.count, next: buffer.count) : nil }
      guard buffer.count - position <= lineLengthMax else {
        throw ValidationError("line \(number + 1) has more than \(lineLengthMax) bytes.")
      }
      buffer.removeSubrange(..<position)
      position = 0
      let data = try handle.read(upToCount: Self.readSize) ?? Data()
      if data.isEmpty { isAtEnd = true } else { buffer += data }
    }
  }

  private func take(_ range: Range<Int>, next: Int) -> (number: Int, bytes: [UInt8]) {
    number += 1
    readCount += next - position
    position = next
    return (number, Array(buffer[range]))
  }
}

/// A line on standard error that shows how far a command has come; nothing unless that is a terminal.
private struct ProgressBar {
  private static let width = 30
  private static let interval: Duration = .milliseconds(200)

  private let label: String
  private let total: Int?
  private let isShown = isatty(STDERR_FILENO) == 1
  private var shownAt: ContinuousClock.Instant?

  init(_ label: String, total: Int?) {
    self.label = label
    self.total = total
  }

  /// `done` is a part of the total.
  mutating func advance(to done: Int, count: Int) {
    guard isShown, shownAt.map({ ContinuousClock.now - $0 >= Self.interval }) ?? true else { return }
    shownAt = .now
    var bar = ""
    if let total, total > 0 {
      let filled = min(Self.width, done * Self.width / total)
      bar = "[" + String(repeating: "#", count: filled) + String(repeating: ".", count: Self.width - filled) + "] "
    }
    FileHandle.standardError.write(Data("\r\(bar)\(count) \(label)".utf8))
  }

  /// Removes the line.
  mutating func end() {
    guard isShown, shownAt != nil else { return }
    shownAt = nil
    FileHandle.standardError.write(Data("\r\u{1B}[K".utf8))
  }
}
