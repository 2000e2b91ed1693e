import Foundation
import PortalTesting
import PostgresTesting
import Testing

@Suite("docs/DEMO.md")
struct DemoTests {
  @Test("every command of the transcript prints the output shown")
  func replays() async throws {
    let steps = try Self.steps(of: repositoryRoot + "/docs/DEMO.md")
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
