import PostgresTesting
import Testing

@testable import Portal

/// A query as a tree, evaluated by recursion.
private indirect enum Tree {
  case permission(String)
  case and(Tree, Tree)
  case or(Tree, Tree)

  func isMet(by held: Set<String>) -> Bool {
    switch self {
    case .permission(let permission): held.contains(permission)
    case .and(let left, let right):
      // Both, so that nothing is skipped.
      [left.isMet(by: held), right.isMet(by: held)].allSatisfy { $0 }
    case .or(let left, let right): [left.isMet(by: held), right.isMet(by: held)].contains(true)
    }
  }

  static func random(_ count: Int, of permissions: [String], _ random: inout SeededGenerator) -> Tree {
    guard count > 1 else { return .permission(random.pick(permissions)) }
    // Often lopsided, so that parentheses become deep.
    let leftCount = random.oneIn(2) ? Int.random(in: 1..<count, using: &random) : random.pick([1, count - 1])
    let left = Tree.random(leftCount, of: permissions, &random)
    let right = Tree.random(count - leftCount, of: permissions, &random)
    return random.oneIn(2) ? .and(left, right) : .or(left, right)
  }

  /// The tree in one of its many spellings.
  func text(_ random: inout SeededGenerator) -> String {
    switch self {
    case .permission(let permission): return parenthesized(permission, random.oneIn(10), &random)
    case .and(let left, let right):
      return [left.operand(ofAnd: true, &random), right.operand(ofAnd: true, &random)].joined(
        separator: space(&random) + random.pick(["AND", "and", "And", "aND"]) + space(&random))
    case .or(let left, let right):
      return [left.operand(ofAnd: false, &random), right.operand(ofAnd: false, &random)].joined(
        separator: space(&random) + random.pick(["OR", "or", "Or"]) + space(&random))
    }
  }

  private func operand(ofAnd isOfAnd: Bool, _ random: inout SeededGenerator) -> String {
    var needsParentheses = false
    if case .or = self { needsParentheses = isOfAnd }
    return parenthesized(text(&random), needsParentheses || random.oneIn(10), &random)
  }

  private func parenthesized(_ text: String, _ isParenthesized: Bool, _ random: inout SeededGenerator) -> String {
    guard isParenthesized else { return text }
    let spaces = (0..<2).map { _ in random.oneIn(4) ? space(&random) : "" }
    return "(" + spaces[0] + text + spaces[1] + ")"
  }

  private func space(_ random: inout SeededGenerator) -> String { random.pick([" ", "  ", "\t", "\n", "\r\n"]) }
}

/// Reads the words of a query by recursive descent; nil if they are none.
private struct Descent {
  let words: [String]
  var place = 0

  static func tree(_ words: [String]) -> Tree? {
    var descent = Descent(words: words)
    guard let tree = descent.query(), descent.place == words.count else { return nil }
    return tree
  }

  private mutating func query() -> Tree? { chain("OR", { $0.chain("AND", { $0.primary() }, Tree.and) }, Tree.or) }

  private mutating func chain(
    _ word: String, _ operand: (inout Descent) -> Tree?, _ join: (Tree, Tree) -> Tree
  ) -> Tree? {
    guard var tree = operand(&self) else { return nil }
    while place < words.count, words[place].uppercased() == word {
      place += 1
      guard let right = operand(&self) else { return nil }
      tree = join(tree, right)
    }
    return tree
  }

  private mutating func primary() -> Tree? {
    guard place < words.count else { return nil }
    let word = words[place]
    place += 1
    switch word.uppercased() {
    case "AND", "OR", ")": return nil
    case "(":
      guard let tree = query(), place < words.count, words[place] == ")" else { return nil }
      place += 1
      return tree
    default: return .permission(word)
    }
  }
}

@Suite("PermissionQuery")
struct PermissionQueryTests {
  private typealias Problem = PermissionQuery.Problem

  private func parsed(_ text: String, _ comment: Comment? = nil) -> PermissionQuery? {
    do { return try PermissionQuery(text) } catch {
      Issue.record("\(error.message): \(text)\(comment.map { ", \($0)" } ?? "")")
      return nil
    }
  }

  private func refusal(_ text: String) -> Problem? {
    do {
      _ = try PermissionQuery(text)
      return nil
    } catch { return error }
  }

  // MARK: Against recursion

  @Test(
    "agrees with recursion on random trees, in every spelling and after a round through its own text",
    arguments: 0..<20)
  func agreesWithRecursion(_ seed: Int) throws {
    var random = SeededGenerator(seed: UInt64(seed))
    let names = ["a", "b.c", "ANDROID", "or:", "x/*", "*", "a.b:c-d_e", "9"]
    for number in 0..<200 {
      let count = random.oneIn(4) ? Int.random(in: 1...60, using: &random) : Int.random(in: 1...6, using: &random)
      let tree = Tree.random(count, of: names, &random)
      let text = tree.text(&random)
      guard text.utf8.count <= PermissionQuery.lengthMax else { continue }
      let query = try #require(parsed(text, "seed \(seed), case \(number)"))
      let again = try #require(parsed(query.description, "seed \(seed), case \(number)"))
      #expect(again == query, "seed \(seed), case \(number): \(text)")
      #expect(again.description == query.description && query.description.utf8.count <= text.utf8.count + 2 * count)
      for _ in 0..<8 {
        let held = Set(names.filter { _ in Bool.random(using: &random) })
        var askedCount = 0
        let isMet = query.isMet {
          askedCount += 1
          return held.contains($0)
        }
        #expect(
          isMet == tree.isMet(by: held) && askedCount <= count, "seed \(seed), case \(number): \(text) with \(held)")
      }
    }
  }

  @Test("takes exactly the rows of words that a recursive reader takes, and means the same", arguments: 0..<20)
  func agreesOnWords(_ seed: Int) throws {
    var random = SeededGenerator(seed: UInt64(seed))
    let words = ["a", "b", "c", "a", "AND", "and", "OR", "(", ")"]
    var takenCount = 0
    for _ in 0..<1_000 {
      let chosen = (0..<Int.random(in: 0...8, using: &random)).map { _ in random.pick(words) }
      let text = chosen.joined(separator: " ")
      guard let tree = Descent.tree(chosen) else {
        let problem = try #require(refusal(text), "seed \(seed): \(text)")
        #expect((1...text.utf8.count + 1).contains(problem.character))
        continue
      }
      takenCount += 1
      let query = try #require(parsed(text, "seed \(seed)"))
      for mask in 0..<8 {
        let held = Set(["a", "b", "c"].enumerated().filter { mask >> $0.offset & 1 == 1 }.map(\.element))
        #expect(query.isMet { held.contains($0) } == tree.isMet(by: held), "seed \(seed): \(text) with \(held)")
      }
    }
    #expect(takenCount > 20)
  }

  // MARK: Grammar

  @Test("AND binds more tightly than OR, and asks for no permission that cannot matter")
  func precedence() throws {
    let query = try PermissionQuery("a OR b AND c")
    #expect(query.isMet { $0 == "a" } && query.isMet { "bc".contains($0) } && !query.isMet { $0 == "c" })
    var asked: [String] = []
    _ = try PermissionQuery("(a OR b) AND (c OR d) OR e").isMet {
      asked.append($0)
      return $0 == "a"
    }
    #expect(asked == ["a", "c", "d", "e"])
  }

  @Test("a star is a character: it grants nothing below it")
  func star() throws {
    #expect(try !PermissionQuery("a.b").isMet { $0 == "a.*" || $0 == "*" })
    #expect(try !PermissionQuery("a.*").isMet { $0 == "a.b" || $0 == "A.*" })
    #expect(try PermissionQuery("a.*").isMet { $0 == "a.*" })
  }

  @Test(
    "its own text has capital operators and only the parentheses that matter",
    arguments: [
      ("a", "a"), ("((a))", "a"), (" a\n", "a"), ("a and(b or c)", "a AND (b OR c)"), ("(a and b)or c", "a AND b OR c"),
      ("a AND (b AND c)", "a AND b AND c"), ("(a OR b) OR c", "a OR b OR c"),
      ("ANDROID or(OR:and/or)", "ANDROID OR OR:and/or"),
      ("((a or b)and c or d)and e", "((a OR b) AND c OR d) AND e"), ("(a or b)and(c or d)", "(a OR b) AND (c OR d)"),
    ])
  func canonical(_ text: String, _ canonical: String) throws {
    #expect(try PermissionQuery(text).description == canonical)
  }

  @Test("its own text is never longer than a query may be: it does without spaces outside parentheses, if need be")
  func canonicalLength() throws {
    func text(_ count: Int, _ separator: String) -> String {
      [String](repeating: "(aaaaa OR bbbbbb)", count: count).joined(separator: separator)
    }
    #expect(try PermissionQuery(text(45, "and")).description == text(45, " AND "))
    #expect(try PermissionQuery(text(45, "and")).description.utf8.count == 985)
    let compact = try PermissionQuery(text(50, "and"))
    #expect(compact.description == text(50, "AND") && compact.description.utf8.count == 997)
    #expect(try PermissionQuery(compact.description) == compact)
  }

  // MARK: Refusals

  @Test(
    "a problem is named with its place",
    arguments: [
      ("", .missingPermission, 1), ("  \t\n", .missingPermission, 5), ("()", .missingPermission, 2),
      ("a AND", .missingPermission, 6), ("a AND )", .missingPermission, 7), ("OR a", .missingPermission, 1),
      ("a OR or b", .missingPermission, 6), (")", .missingPermission, 1), ("(a OR ", .missingPermission, 7),
      ("a b", .missingOperator, 3), ("a (b)", .missingOperator, 3), ("(a)b", .missingOperator, 4),
      ("(a)(b)", .missingOperator, 4), ("NOT a", .missingOperator, 5), ("a)", .unopenedParenthesis, 2),
      ("(a))", .unopenedParenthesis, 4), ("(a", .unclosedParenthesis, 1), ("((a) AND (b", .unclosedParenthesis, 10),
      ("a, b", .unexpectedCharacter, 2), ("a\0", .unexpectedCharacter, 2), ("a && b", .unexpectedCharacter, 3),
      ("ä", .unexpectedCharacter, 1), ("a\u{301}", .unexpectedCharacter, 2), ("a\u{A0}OR b", .unexpectedCharacter, 2),
      ("a OR \u{FEFF}b", .unexpectedCharacter, 6), ("ａ", .unexpectedCharacter, 1),
      ("a OR \"b\"", .unexpectedCharacter, 6),
    ] as [(String, PermissionQuery.Problem.Reason, Int)])
  func problems(_ text: String, _ reason: PermissionQuery.Problem.Reason, _ character: Int) {
    #expect(refusal(text) == Problem(reason: reason, character: character))
    #expect(refusal(text)?.message.contains("\(character)") == true)
  }

  @Test("bytes that are no UTF-8 are a character that no permission contains")
  func notUTF8() {
    for bytes: [UInt8] in [[0xFF], [0xC0, 0x80], [0xED, 0xA0, 0x80], [0xF4]] {
      let text = "a OR " + String(decoding: bytes, as: UTF8.self)
      #expect(refusal(text) == Problem(reason: .unexpectedCharacter, character: 6))
    }
  }

  @Test("1,000 bytes and 100 permissions, and no more")
  func bounds() throws {
    let longest = String(repeating: "a", count: 1_000)
    #expect(try PermissionQuery(longest).isMet { $0 == longest })
    #expect(refusal(longest + "a") == Problem(reason: .tooLong, character: 1_001))
    #expect(refusal(longest + " ") == Problem(reason: .tooLong, character: 1_001))
    #expect(refusal(longest + "ä") == Problem(reason: .tooLong, character: 1_001))
    #expect(try PermissionQuery("a" + String(repeating: " ", count: 999)).description == "a")
    let most = (0..<100).map { "p\($0)" }.joined(separator: " OR ")
    #expect(try PermissionQuery(most).isMet { $0 == "p99" } && !PermissionQuery(most).isMet { _ in false })
    #expect(refusal(most + " OR q") == Problem(reason: .tooManyPermissions, character: most.utf8.count + 5))
    let all = (0..<100).map { "p\($0)" }.joined(separator: " AND ")
    #expect(try PermissionQuery(all).isMet { _ in true } && !PermissionQuery(all).isMet { $0 != "p99" })
  }

  @Test("parentheses may be as deep as the length allows")
  func depth() throws {
    let deepest = String(repeating: "(", count: 499) + "aa" + String(repeating: ")", count: 499)
    #expect(try PermissionQuery(deepest).description == "aa")
    // Each level is needed, and every second one may end early.
    let levels = 49
    let ladder = (0..<levels).map { "(a OR b\($0) AND " }.joined() + "c" + String(repeating: ")", count: levels)
    let query = try PermissionQuery(ladder)
    #expect(query.isMet { $0 == "a" } && !query.isMet { $0 != "a" && $0 != "c" } && query.isMet { $0 != "a" })
    #expect(try PermissionQuery(query.description) == query)
  }

  @Test("text of any length and any one character is refused at once")
  func hostileText() {
    for character in ["(", ")", "a", " ", "\0", "*", "a OR ", "(a AND ", "AND ", "\u{301}", "é", "🙂"] {
      let text = String(repeating: character, count: 32_768)
      let problem = refusal(text)
      #expect((1...1_001).contains(problem?.character ?? 0), "\(character)")
    }
  }
}
