/// The names that a source file declares and uses. They are found without a compiler, so the types of expressions are
/// unknown.
struct SwiftNames {
  struct Name: Equatable {
    let text: String
    let line: Int
  }

  /// A member that an extension adds to a type: also a type in it, and an initializer by its first label, `column:`.
  struct Member: Equatable {
    let name: Name
    let extended: String
  }

  /// Types, functions and values that other files see.
  private(set) var declared: [Name] = []
  private(set) var extensionMembers: [Member] = []
  /// All declared names of any visibility, including parameters and local variables.
  private(set) var allDeclared: Set<String> = []
  /// Words that may refer to a declaration in another file; a first label as `column:`. `isMember` is true after a
  /// point, and for labels.
  private(set) var used: [(name: Name, isMember: Bool)] = []

  /// The scope that a brace opens.
  private enum Scope {
    case type
    case extending(String, isPrivate: Bool)
    case code
  }

  private let tokens: [SwiftTokens.Token]
  private var scopes: [Scope] = []
  private var pending: Scope?

  private static let typeWords: Set = ["struct", "enum", "class", "actor", "protocol", "typealias", "associatedtype"]
  private static let modifiers: Set = [
    "private", "fileprivate", "package", "public", "internal", "static", "final", "indirect", "nonisolated",
    "mutating", "nonmutating", "convenience", "override", "lazy", "weak", "borrowing", "consuming", "async", "prefix",
  ]

  init(_ source: String) {
    tokens = SwiftTokens(source).tokens.filter { $0.kind != .text }
    for index in tokens.indices { read(index) }
  }

  private mutating func read(_ index: Int) {
    let token = tokens[index]
    switch token.text {
    case "{":
      scopes.append(pending ?? .code)
      pending = nil
      readClosureParameters(index)
    case "}": _ = scopes.popLast()
    case _ where token.kind == .word && !isBehindPoint(index): readWord(index, token)
    case _ where token.kind == .word: used.append((Name(text: token.text, line: token.line), true))
    default: break
    }
  }

  private mutating func readWord(_ index: Int, _ token: SwiftTokens.Token) {
    switch token.text {
    case "extension" where isWord(index + 1):
      var end = index + 1
      while text(end + 1) == ".", isWord(end + 2) { end += 2 }
      // In `A.B`, the extended type is B.
      pending = .extending(tokens[end].text, isPrivate: isPrivate(index))
    case _ where Self.typeWords.contains(token.text) && isDeclaringType(index):
      declare(index + 1, isPrivate: isPrivate(index))
      readGenericParameters(index + 2)
      if token.text != "typealias", token.text != "associatedtype" { pending = .type }
    case "func":
      if isWord(index + 1) { declare(index + 1, isPrivate: isPrivate(index)) }
      readGenericParameters(index + 2)
      readParameters(index + 1)
    case "init":
      if let label = readParameters(index), case .extending(let extended, let isHidden) = scopes.last, !isHidden,
        !isPrivate(index), label != "_"
      {
        extensionMembers.append(Member(name: Name(text: label + ":", line: token.line), extended: extended))
      }
    case "subscript": readParameters(index)
    case "var", "let", "case", "for": readPattern(index)
    default:
      switch (text(index - 1), text(index + 1)) {
      case (_, ":") where ["for", "while", "repeat", "switch", "do", "if"].contains(text(index + 2)):
        allDeclared.insert(token.text)
      case ("(", ":"): used.append((Name(text: token.text + ":", line: token.line), true))
      case (",", ":"): break
      default: used.append((Name(text: token.text, line: token.line), false))
      }
    }
  }

  // MARK: Declarations

  /// False where `actor` or `class` is a name or a modifier.
  private func isDeclaringType(_ index: Int) -> Bool {
    guard isWord(index + 1), !["func", "var", "let"].contains(text(index + 1)) else { return false }
    return ["{", ":", "<", "=", "where"].contains(text(index + 2)) || text(index) == "associatedtype"
  }

  private mutating func declare(_ index: Int, isPrivate: Bool) {
    let name = Name(text: tokens[index].text, line: tokens[index].line)
    allDeclared.insert(name.text)
    guard !isPrivate else { return }
    switch scopes.last {
    case nil: declared.append(name)
    case .extending(let extended, isPrivate: false):
      extensionMembers.append(Member(name: name, extended: extended))
    default: break
    }
  }

  /// `var a`, `let (a, b)`, `case a`, `for a`.
  private mutating func readPattern(_ index: Int) {
    let isVisible = tokens[index].text != "for" && tokens[index].text != "case"
    if isWord(index + 1), !["let", "var", "try"].contains(text(index + 1)) {
      if isVisible {
        declare(index + 1, isPrivate: isPrivate(index))
      } else if case .type = scopes.last {
        allDeclared.insert(tokens[index + 1].text)
      } else if tokens[index].text == "for" {
        allDeclared.insert(tokens[index + 1].text)
      }
    } else if text(index + 1) == "(" {
      for next in (index + 2)..<tokens.count {
        if text(next) == ")" { break }
        if isWord(next) { allDeclared.insert(tokens[next].text) }
      }
    }
  }

  /// `{ a, b in`, `{ [c] a in`.
  private mutating func readClosureParameters(_ index: Int) {
    var names: [String] = []
    for next in (index + 1)..<min(index + 16, tokens.count) {
      if text(next) == "in" {
        allDeclared.formUnion(names)
        return
      }
      if isWord(next) {
        names.append(tokens[next].text)
      } else if !["[", "]", "(", ")", ",", ":"].contains(text(next)) {
        return
      }
    }
  }

  private mutating func readGenericParameters(_ index: Int) {
    guard text(index) == "<" else { return }
    for next in (index + 1)..<tokens.count {
      if text(next) == ">" { return }
      if isWord(next), text(next - 1) == "<" || text(next - 1) == "," || text(next - 1) == "each" {
        allDeclared.insert(tokens[next].text)
      }
    }
  }

  /// Records the parameters; returns the label of the first.
  @discardableResult
  private mutating func readParameters(_ index: Int) -> String? {
    guard var next = tokens[index...].firstIndex(where: { $0.text == "(" }), next <= index + 40 else { return nil }
    let label = isWord(next + 1) ? tokens[next + 1].text : nil
    var depth = 0
    while next < tokens.count {
      switch text(next) {
      case "(", "[", "{": depth += 1
      case ")", "]", "}":
        depth -= 1
        if depth == 0 { return label }
      case ":" where depth == 1:
        if isWord(next - 1) { allDeclared.insert(tokens[next - 1].text) }
        if isWord(next - 2) { allDeclared.insert(tokens[next - 2].text) }
      default: break
      }
      next += 1
    }
    return label
  }

  // MARK: Tokens

  private func text(_ index: Int) -> String { tokens.indices.contains(index) ? tokens[index].text : "" }

  private func isWord(_ index: Int) -> Bool { tokens.indices.contains(index) && tokens[index].kind == .word }

  /// Not after `...`.
  private func isBehindPoint(_ index: Int) -> Bool { text(index - 1) == "." && text(index - 2) != "." }

  /// Determined by the modifiers before it. `private(set)` is visible.
  private func isPrivate(_ index: Int) -> Bool {
    var index = index - 1
    while index >= 0 {
      if text(index) == ")", text(index - 2) == "(" {
        index -= 4
      } else if Self.modifiers.contains(text(index)) {
        if text(index) == "private" || text(index) == "fileprivate" { return true }
        index -= 1
      } else {
        return false
      }
    }
    return false
  }
}
