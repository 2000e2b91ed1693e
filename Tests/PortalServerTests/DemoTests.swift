import Foundation
import PortalTesting
import PostgresTesting
import Testing

@Suite("docs/DEMO.md and docs/FROM.md")
struct DemoTests {
  @Test("every command of the transcript prints the output shown", arguments: ["DEMO.md", "FROM.md"])
  func replays(_ document: String) async throws {
    let steps = try Self.steps(of: repositoryRoot + "/docs/" + document)
    #expect(steps.count > 20)
    try await withDatabase { database in
      try await withServers(2, on: database) { servers in
        let outputs = try await Self.run(steps.map(\.command), database, servers)
        #expect(outputs.count == steps.count)
        for (step, output) in zip(steps, outputs) {
          #expect(
            Self.matches(output.trimmed, step.expected.trimmed),
            "\(step.command)\nprinted: \(output)\nnot: \(step.expected)")
        }
      }
    }
  }

  @Test("scripts/stop says what it stopped, and that there was nothing to stop")
  func stop() async throws {
    let folder = FileManager.default.temporaryDirectory.appending(path: "latchkey-stop-\(UUID())")
    defer { try? FileManager.default.removeItem(at: folder) }
    let scripts = folder.appending(path: "scripts")
    try FileManager.default.createDirectory(at: scripts, withIntermediateDirectories: true)
    for name in ["stop", "server.bash", "cluster"] {
      try FileManager.default.copyItem(
        at: URL(filePath: repositoryRoot + "/scripts/" + name), to: scripts.appending(path: name))
    }
    func stop() async throws -> CommandResult {
      try await PostgresTesting.run("/bin/bash", [scripts.appending(path: "stop").path], environment: baseEnvironment)
    }
    let nothing = try await stop()
    #expect(nothing.status == 0 && nothing.errors == "")
    #expect(
      nothing.output == "The server was not running.\nThere is no PostgreSQL of make run in .local/postgres.\n")
  }

  private struct Step {
    var command: String
    var expected: String
  }

  private static func steps(of path: String) throws -> [Step] {
    var steps: [Step] = []
    var isTranscript = false
    for line in try String(contentsOfFile: path, encoding: .utf8).split(separator: "\n") {
      if line.hasPrefix("```") {
        isTranscript = line == "```console"
      } else if isTranscript, line.hasPrefix("$ ") {
        steps.append(Step(command: String(line.dropFirst(2)), expected: ""))
      } else if isTranscript {
        steps[steps.count - 1].expected += line + "\n"
      }
    }
    return steps
  }

  /// Runs all commands in one shell, as a person would, with a mark after each output.
  private static func run(
    _ commands: [String], _ database: TestDatabase, _ servers: [RunningServer]
  ) async throws -> [String] {
    let mark = "--- end of step ---"
    let binary = URL(filePath: latchkeyBinary).deletingLastPathComponent().path
    let script = commands.map { $0 + "\necho '\(mark)'\n" }.joined()
    let result = try await PostgresTesting.run(
      "/bin/bash", ["-c", script],
      environment: baseEnvironment.merging([
        "ONE": servers[0].url, "TWO": servers[1].url, "DATABASE_URL": database.url,
        "PATH": binary + ":" + (ProcessInfo.processInfo.environment["PATH"] ?? "/usr/bin:/bin"),
      ]) { $1 })
    #expect(result.errors == "")
    return result.output.components(separatedBy: mark + "\n").dropLast()
  }

  /// `…` matches any text within a line.
  private static func matches(_ output: String, _ expected: String) -> Bool {
    let pattern = NSRegularExpression.escapedPattern(for: expected).replacing("…", with: "[^\n]*")
    return output.range(of: "^(?:" + pattern + ")$", options: .regularExpression) != nil
  }
}

extension String {
  fileprivate var trimmed: String { trimmingCharacters(in: .newlines) }
}
