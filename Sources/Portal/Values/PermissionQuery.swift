/// A condition on the permissions of a key, such as `invoices.read AND (invoices.pay OR admin)`.
///
///     query      := all ("OR" all)*
///     all        := primary ("AND" primary)*
///     primary    := permission | "(" query ")"
///     permission := [A-Za-z0-9._:*/-]+
///
/// The operators are whole words in any case: `ANDROID` is a permission, and no query can name one that is called `and`
/// or `or`. `AND` binds more tightly. Between words are spaces, tabs and line ends. A query has at most 1,000 bytes and
/// 100 permissions; parentheses may be as deep as that allows.
///
/// A permission is compared exactly and with case. It is not a scope: `*` is a character like any other, so
/// `invoices.*` is met by the permission of that name only, and grants nothing below `invoices.`.
package struct PermissionQuery: Sendable, Equatable, CustomStringConvertible {
  /// In bytes of UTF-8.
  package static let lengthMax = 1_000
  /// A permission that is named twice counts twice.
  package static let permissionCountMax = 100

  /// Why a text is not a query.
  package struct Problem: Error, Equatable {
    package enum Reason: String, Sendable, CaseIterable {
      case tooLong
      case tooManyPermissions
      /// Neither part of a permission nor a parenthesis or a space.
      case unexpectedCharacter
      /// A permission or `(` would have to come here.
      case missingPermission
      /// `AND`, `OR` or the end would have to come here.
      case missingOperator
      /// `)` that closes nothing.
      case unopenedParenthesis
      /// `(` that nothing closes.
      case unclosedParenthesis
    }

    package var reason: Reason
    /// The place, as the number of a Unicode scalar from 1. For what is missing, where it would have to be, which may
    /// be one after the last.
    package var character: Int

    /// Without the name of the field, and without any of the text.
    package var message: String {
      switch reason {
      case .tooLong: "has more than \(lengthMax) bytes"
      case .tooManyPermissions: "names more than \(permissionCountMax) permissions, at character \(character)"
      case .unexpectedCharacter: "has a character that no permission contains, at character \(character)"
      case .missingPermission: "has no permission where one is expected, at character \(character)"
      case .missingOperator: "has neither AND nor OR where one is expected, at character \(character)"
      case .unopenedParenthesis: "has a parenthesis that closes nothing, at character \(character)"
      case .unclosedParenthesis: "has a parenthesis that is not closed, at character \(character)"
      }
    }
  }

  /// One of the permissions, in the order of the text, and where to go on: at a later step, or at one of the two ends.
  private struct Step: Equatable {
    var permission: String
    var nextIfHeld: UInt8
    var nextIfMissing: UInt8
  }

  private let steps: [Step]

  /// The query with capital operators and no more spaces and parentheses than necessary. It makes an equal query.
  package let description: String

  /// Takes the text as a client sent it. Throws the first problem, by its place.
  package init(_ text: String) throws(Problem) {
    var parser = PermissionQueryParser(text)
    let postfix = try parser.postfix()
    var steps: [Step] = []
    var reversedText: [PermissionQueryParser.Word] = []
    // From the end to the beginning, so that the step after an expression is known when it is its turn.
    let count = postfix.count { if case .permission = $0 { true } else { false } }
    let (met, unmet) = (UInt8(count), UInt8(count + 1))
    var next = met
    var pending: [Pending] = [.expression(Expression(nextIfHeld: met, nextIfMissing: unmet))]
    func writePendingWords() {
      while case .word(let word) = pending.last {
        pending.removeLast()
        reversedText.append(word)
      }
    }
    for item in postfix.reversed() {
      writePendingWords()
      guard case .expression(var expression) = pending.popLast() else { break }
      if expression.isLeft, expression.parent == .and { expression.nextIfHeld = next }
      if expression.isLeft, expression.parent == .or { expression.nextIfMissing = next }
      switch item {
      case .permission(let permission):
        steps.append(
          Step(permission: permission, nextIfHeld: expression.nextIfHeld, nextIfMissing: expression.nextIfMissing))
        next -= 1
        reversedText.append(.permission(permission))
      case .operation(let operation):
        if operation == .or, expression.parent == .and {
          reversedText.append(.close)
          pending.append(.word(.open))
        }
        var (left, right) = (expression, expression)
        (left.parent, left.isLeft) = (operation, true)
        (right.parent, right.isLeft) = (operation, false)
        pending += [.expression(left), .word(.operation(operation)), .expression(right)]
      }
    }
    writePendingWords()
    self.steps = steps.reversed()
    description = Self.text(reversedText.reversed())
  }

  /// Whether a key that holds these permissions meets the query. Asks for each permission of the query at most once,
  /// from left to right, and only while the answer depends on it.
  package func isMet(by holds: (_ permission: String) -> Bool) -> Bool {
    var index = 0
    while index < steps.count {
      let step = steps[index]
      index = Int(holds(step.permission) ? step.nextIfHeld : step.nextIfMissing)
    }
    return index == steps.count
  }

  private struct Expression {
    /// The step after the whole expression; of a left operand only for the result that decides its parent.
    var nextIfHeld: UInt8
    var nextIfMissing: UInt8
    var parent: PermissionQueryParser.Operation?
    var isLeft = false
  }

  private enum Pending {
    case expression(Expression)
    case word(PermissionQueryParser.Word)
  }

  private static func text(_ words: [PermissionQueryParser.Word]) -> String {
    let text = text(words, spacesOutsideParentheses: true)
    // Without them it is no longer than the shortest text that makes the query.
    return text.utf8.count <= lengthMax ? text : Self.text(words, spacesOutsideParentheses: false)
  }

  private static func text(_ words: [PermissionQueryParser.Word], spacesOutsideParentheses: Bool) -> String {
    var text = ""
    var previous: PermissionQueryParser.Word?
    for word in words {
      let isSpaced =
        switch (previous, word) {
        case (nil, _), (.open, _), (_, .close): false
        case (.close, _), (_, .open): spacesOutsideParentheses
        default: true
        }
      if isSpaced { text += " " }
      switch word {
      case .permission(let permission): text += permission
      case .operation(let operation): text += operation.rawValue
      case .open: text += "("
      case .close: text += ")"
      }
      previous = word
    }
    return text
  }
}

/// Puts the words of a query into postfix order (E. W. Dijkstra's shunting yard).
private struct PermissionQueryParser {
  enum Operation: String {
    case and = "AND"
    case or = "OR"
  }

  enum Item {
    case permission(String)
    case operation(Operation)
  }

  enum Word {
    case permission(String)
    case operation(Operation)
    case open
    case close
  }

  private enum Waiting {
    case operation(Operation)
    case parenthesis(character: Int)
  }

  /// No more of the text than one byte beyond the maximum. All before a problem is ASCII, so that a byte is a character.
  private let bytes: [UInt8]
  private var place = 0
  private var items: [Item] = []
  private var permissionCount = 0
  private var waiting: [Waiting] = []

  init(_ text: String) { bytes = Array(text.utf8.prefix(PermissionQuery.lengthMax + 1)) }

  mutating func postfix() throws(PermissionQuery.Problem) -> [Item] {
    var needsPermission = true
    while let (word, character) = try nextWord() {
      switch word {
      case .permission, .open:
        guard needsPermission else { throw PermissionQuery.Problem(reason: .missingOperator, character: character) }
      case .operation, .close:
        guard !needsPermission else { throw PermissionQuery.Problem(reason: .missingPermission, character: character) }
      }
      switch word {
      case .permission(let permission):
        permissionCount += 1
        guard permissionCount <= PermissionQuery.permissionCountMax else {
          throw PermissionQuery.Problem(reason: .tooManyPermissions, character: character)
        }
        items.append(.permission(permission))
        needsPermission = false
      case .open: waiting.append(.parenthesis(character: character))
      case .operation(let operation):
        emitOperations { operation == .or || $0 == .and }
        waiting.append(.operation(operation))
        needsPermission = true
      case .close:
        emitOperations { _ in true }
        guard case .parenthesis = waiting.popLast() else {
          throw PermissionQuery.Problem(reason: .unopenedParenthesis, character: character)
        }
      }
    }
    guard !needsPermission else {
      throw PermissionQuery.Problem(reason: .missingPermission, character: bytes.count + 1)
    }
    emitOperations { _ in true }
    if case .parenthesis(let character) = waiting.last {
      throw PermissionQuery.Problem(reason: .unclosedParenthesis, character: character)
    }
    return items
  }

  /// Moves the operations that wait since the last open parenthesis, as long as they bind tightly enough.
  private mutating func emitOperations(while bindsTightly: (Operation) -> Bool) {
    while case .operation(let operation) = waiting.last, bindsTightly(operation) {
      waiting.removeLast()
      items.append(.operation(operation))
    }
  }

  private mutating func nextWord() throws(PermissionQuery.Problem) -> (Word, character: Int)? {
    while place < bytes.count, Self.isSpace(bytes[place]) { place += 1 }
    let start = place
    while place < bytes.count, Self.isPartOfPermission(bytes[place]) { place += 1 }
    guard place < PermissionQuery.lengthMax || bytes.count <= PermissionQuery.lengthMax else {
      throw PermissionQuery.Problem(reason: .tooLong, character: PermissionQuery.lengthMax + 1)
    }
    if place > start {
      let word = String(decoding: bytes[start..<place], as: UTF8.self)
      return (Operation(rawValue: word.uppercased()).map(Word.operation) ?? .permission(word), start + 1)
    }
    guard place < bytes.count else { return nil }
    place += 1
    switch bytes[start] {
    case UInt8(ascii: "("): return (.open, start + 1)
    case UInt8(ascii: ")"): return (.close, start + 1)
    default: throw PermissionQuery.Problem(reason: .unexpectedCharacter, character: start + 1)
    }
  }

  private static func isSpace(_ byte: UInt8) -> Bool {
    switch byte {
    case UInt8(ascii: " "), UInt8(ascii: "\t"), UInt8(ascii: "\n"), UInt8(ascii: "\r"): true
    default: false
    }
  }

  private static func isPartOfPermission(_ byte: UInt8) -> Bool {
    switch byte {
    case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "A")...UInt8(ascii: "Z"),
      UInt8(ascii: "0")...UInt8(ascii: "9"), UInt8(ascii: "."), UInt8(ascii: "_"), UInt8(ascii: "-"),
      UInt8(ascii: ":"), UInt8(ascii: "*"), UInt8(ascii: "/"):
      true
    default: false
    }
  }
}
