/// A source file as words, marks and texts, without comments. Interpolations are read as code.
struct SwiftTokens {
  struct Token: Equatable {
    enum Kind: Equatable {
      case word
      /// One character that belongs to no word.
      case mark
      /// The text of a string literal, without its interpolations.
      case text
    }

    let kind: Kind
    let text: String
    let line: Int
  }

  private(set) var tokens: [Token] = []
  private let bytes: [UInt8]
  private var position = 0
  private var line = 1

  init(_ source: String) {
    bytes = Array(source.utf8)
    read(until: nil)
  }

  // MARK: Code

  /// Reads up to the end, or past the closing mark that has no opening one.
  private mutating func read(until closing: UInt8?) {
    var depth = 0
    while let byte = peek() {
      if byte == UInt8(ascii: "("), closing != nil { depth += 1 }
      if byte == closing {
        if depth == 0 {
          position += 1
          return
        }
        depth -= 1
      }
      readToken(byte)
    }
  }

  private mutating func readToken(_ byte: UInt8) {
    switch byte {
    case UInt8(ascii: "\n"):
      line += 1
      position += 1
    case UInt8(ascii: " "): position += 1
    case UInt8(ascii: "/") where peek(1) == UInt8(ascii: "/"):
      while let next = peek(), next != UInt8(ascii: "\n") { position += 1 }
    case UInt8(ascii: "/") where peek(1) == UInt8(ascii: "*"): skipComment()
    case UInt8(ascii: "\""): readText(hashes: 0)
    case UInt8(ascii: "#"): readHashes()
    case _ where Self.isOfWord(byte): readWord()
    default:
      tokens.append(Token(kind: .mark, text: String(UnicodeScalar(byte)), line: line))
      position += 1
    }
  }

  private mutating func readWord() {
    let start = position
    while let next = peek(), Self.isOfWord(next) { position += 1 }
    let word = String(decoding: bytes[start..<position], as: UTF8.self)
    tokens.append(Token(kind: .word, text: word.filter { $0 != "`" }, line: line))
  }

  private mutating func skipComment() {
    var depth = 0
    repeat {
      if peek() == UInt8(ascii: "/"), peek(1) == UInt8(ascii: "*") {
        depth += 1
        position += 1
      } else if peek() == UInt8(ascii: "*"), peek(1) == UInt8(ascii: "/") {
        depth -= 1
        position += 1
      } else if peek() == UInt8(ascii: "\n") {
        line += 1
      }
      position += 1
    } while depth > 0 && position < bytes.count
  }

  /// `#"…"#`, `#/…/#`, or the beginning of a directive.
  private mutating func readHashes() {
    var hashes = 0
    while peek(hashes) == UInt8(ascii: "#") { hashes += 1 }
    switch peek(hashes) {
    case UInt8(ascii: "\""):
      position += hashes
      readText(hashes: hashes)
    case UInt8(ascii: "/"):
      position += hashes + 1
      while position < bytes.count, !isClosing(UInt8(ascii: "/"), hashes) {
        if peek() == UInt8(ascii: "\n") { line += 1 }
        position += 1
      }
      position += 1 + hashes
    default:
      tokens.append(Token(kind: .mark, text: "#", line: line))
      position += 1
    }
  }

  // MARK: Texts

  private mutating func readText(hashes: Int) {
    let quote = UInt8(ascii: "\"")
    let isLong = peek(1) == quote && peek(2) == quote
    position += isLong ? 3 : 1
    let place = tokens.count
    let start = line
    var text: [UInt8] = []
    while let byte = peek() {
      if byte == quote, !isLong || peek(1) == quote && peek(2) == quote, hasHashes(hashes, behind: isLong ? 2 : 0) {
        position += (isLong ? 3 : 1) + hashes
        break
      }
      if byte == UInt8(ascii: "\\"), hasHashes(hashes, behind: 0) {
        position += 1 + hashes
        if peek() == UInt8(ascii: "(") {
          position += 1
          read(until: UInt8(ascii: ")"))
          continue
        }
      }
      if peek() == UInt8(ascii: "\n") { line += 1 }
      if let byte = peek() { text.append(byte) }
      position += 1
    }
    tokens.insert(Token(kind: .text, text: String(decoding: text, as: UTF8.self), line: start), at: place)
  }

  private func hasHashes(_ count: Int, behind offset: Int) -> Bool {
    (0..<count).allSatisfy { peek(offset + 1 + $0) == UInt8(ascii: "#") }
  }

  private func isClosing(_ byte: UInt8, _ hashes: Int) -> Bool { peek() == byte && hasHashes(hashes, behind: 0) }

  private func peek(_ offset: Int = 0) -> UInt8? {
    position + offset < bytes.count ? bytes[position + offset] : nil
  }

  private static func isOfWord(_ byte: UInt8) -> Bool {
    switch byte {
    case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "A")...UInt8(ascii: "Z"),
      UInt8(ascii: "0")...UInt8(ascii: "9"), UInt8(ascii: "_"), UInt8(ascii: "`"), UInt8(ascii: "$"), 0x80...:
      true
    default: false
    }
  }
}

extension SwiftTokens {
  /// The lines of string literals that begin with a statement.
  var linesOfSQL: [Int] {
    let beginning =
      #/
      ^\s*(?:select\s|insert\ into\s|update\ \w+(?:\ \w+)?\ set\s|delete\ from\s|merge\ into\s|with\ \w+\ as\s
      |set\ \w+\ =|set\ local\s|listen\s|notify\s|declare\s|fetch\s|truncate\s|lock\ table\s
      |(?:create|alter|drop)\ (?:table|index)\s)
      /#
    return tokens.filter { $0.kind == .text && $0.text.firstMatch(of: beginning) != nil }.map(\.line)
  }
}
