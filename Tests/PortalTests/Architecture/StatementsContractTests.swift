import Foundation
import PortalTesting
import PostgresTesting
import Testing

/// Rules for every statement, of whatever feature.
@Suite("Statements follow the rules")
struct StatementsContractTests {
  /// Each statement type, by its name.
  private func statements() throws -> [(name: String, text: Substring)] {
    try sources().flatMap { source in
      source.matches(of: /struct (\w+)[^{\n]*: PostgresStatement[^{\n]*\{[\s\S]*?\n\}/).map {
        (String($0.output.1), source[$0.range])
      }
    }
  }

  /// The functions that make SQL for several statements, by their names.
  private func functions() throws -> [String: Substring] {
    let pairs = try sources().flatMap { source in
      source.matches(of: /func (\w+)(?:<[^>]*>)?\([^{]*-> String \{[\s\S]*?\n\}/).map {
        (String($0.output.1), source[$0.range])
      }
    }
    return Dictionary(pairs) { first, _ in first }
  }

  private func sources() throws -> [String] {
    let folder = URL(filePath: repositoryRoot + "/Sources/Portal")
    let files = FileManager.default.enumerator(at: folder, includingPropertiesForKeys: nil)?.compactMap { $0 as? URL }
    return try (files ?? []).filter { $0.lastPathComponent.hasSuffix("Statements.swift") }
      .map { try String(contentsOf: $0, encoding: .utf8) }
  }

  /// A read may be sent twice, and does not count as a change that may leave a commit behind.
  @Test("a select that calls a function that writes declares that it is not a read")
  func writingFunctions() async throws {
    let functions = try await withPool {
      try await $0.lines(
        """
        select proname from pg_proc
        where pronamespace = 'public'::regnamespace and provolatile = 'v' and prorettype <> 'trigger'::regtype
        """)
    }
    #expect(functions.count > 10)
    let statements = try statements()
    #expect(statements.count > 100)
    let offenders = statements.filter { _, text in
      text.firstMatch(of: /sql[^"]*"+\s*select/) != nil && !text.contains("isRead = false")
        && functions.contains { text.contains($0 + "(") }
    }
    #expect(offenders.map(\.name) == [])
  }

  /// As changes, they would be refused while commits wait for a standby.
  @Test("a read that begins with \"with\" declares that it is a read, also if a function makes its SQL")
  func unstatedReads() throws {
    let functions = try functions()
    let common = try statements().filter { _, text in
      let callee = text.firstMatch(of: /sql(?:: String \{| =)\s*(\w+)\(/).flatMap { functions[String($0.output.1)] }
      return (callee ?? text).firstMatch(of: /"""\s*with\s/) != nil
    }
    #expect(Set(common.map(\.name)).isSuperset(of: ["ListKeys", "SearchKeys", "SumUsageOfDays", "ListGrowth"]))
    let offenders = common.filter { _, text in
      // A lock for an update belongs to a change.
      !text.contains("isRead") && !text.contains(/\b(insert into|delete from|merge into)\s|\bupdate\b/)
    }
    #expect(offenders.map(\.name) == [])
  }

  @Test("a statement declared as a read has no keyword of a change")
  func statedReads() throws {
    let stated = try statements().filter { $0.text.contains(/isRead(: Bool \{| =) true/) }
    #expect(!stated.isEmpty)
    let offenders = stated.filter { $0.text.contains(/\b(insert into|update|delete from|merge into)\s/) }
    #expect(offenders.map(\.name) == [])
  }
}
