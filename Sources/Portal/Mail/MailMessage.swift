import Foundation

/// The sender of a mail: an address and an optional name.
package struct Mailbox: Sendable, Equatable {
  package let name: String?
  package let address: String

  /// `ada@example.com` or `Ada <ada@example.com>`; nil for anything else.
  package init?(_ text: String) {
    let text = text.trimmingCharacters(in: .whitespaces)
    guard !text.unicodeScalars.contains(where: { $0.properties.generalCategory == .control }) else { return nil }
    var (name, address) = (String?.none, text)
    if text.hasSuffix(">"), let start = text.lastIndex(of: "<") {
      let before = text[..<start].trimmingCharacters(in: .whitespaces.union(CharacterSet(charactersIn: "\"")))
      name = before.isEmpty ? nil : before
      address = String(text[text.index(after: start)...].dropLast())
    }
    guard let address = EmailAddress(address)?.text, Self.isMailable(address) else { return nil }
    self.name = name
    self.address = address
  }

  var domain: String { address.split(separator: "@").last.map(String.init) ?? address }

  /// Whether mail servers accept the address without quoting (RFC 5321, `Dot-string`; RFC 6531 for other scripts). Such
  /// an address contains nothing that could end it or begin another.
  static func isMailable(_ address: String) -> Bool {
    let parts = address.split(separator: "@", omittingEmptySubsequences: false)
    guard parts.count == 2, !parts[0].isEmpty, !parts[1].isEmpty else { return false }
    let isLocal = { (scalar: Unicode.Scalar) in
      isWord(scalar) || "!#$%&'*+-/=?^_`{|}~.".unicodeScalars.contains(scalar)
    }
    return parts[0].unicodeScalars.allSatisfy(isLocal)
      && parts[1].unicodeScalars.allSatisfy { isWord($0) || $0 == "-" || $0 == "." }
  }

  private static func isWord(_ scalar: Unicode.Scalar) -> Bool {
    scalar.isASCII
      ? scalar.properties.isAlphabetic || scalar.properties.numericType != nil
      : scalar.properties.generalCategory != .control && !scalar.properties.isWhitespace
  }
}

/// An outgoing mail (RFC 5322): plain text in UTF-8.
struct MailMessage: Sendable {
  /// Part of the `Message-ID`, so that a mail that is sent again can be recognized.
  var id: UUID
  var from: Mailbox
  var recipient: String
  var text: MailText
  var date: Date

  /// Throws a permanent failure if the recipient's address is not mailable, or if the subject or the sender's name
  /// contains control characters, which could break a header line.
  func bytes() throws(MailFailure) -> [UInt8] {
    guard Mailbox.isMailable(recipient) else {
      throw MailFailure(reason: "the recipient's address is not one that mail servers accept", isPermanent: true)
    }
    guard
      [text.subject, from.name ?? ""].allSatisfy({ text in
        text.unicodeScalars.allSatisfy { $0.properties.generalCategory != .control }
      })
    else { throw MailFailure(reason: "a header contains a control character", isPermanent: true) }
    let headers = [
      ("From", from.header), ("To", "<\(recipient)>"), ("Subject", text.subject.encodedWords),
      ("Date", Self.text(of: date)), ("Message-ID", "<\(id.text)@\(from.domain)>"), ("MIME-Version", "1.0"),
      ("Content-Type", "text/plain; charset=utf-8"), ("Content-Transfer-Encoding", "quoted-printable"),
      ("Auto-Submitted", "auto-generated"),
    ]
    let head = headers.map { "\($0): \($1)\r\n" }.joined()
    return Array(head.utf8) + Array("\r\n".utf8) + QuotedPrintable.encode(text.body)
  }

  private static func text(of date: Date) -> String {
    let formatter = DateFormatter()
    formatter.locale = Locale(identifier: "en_US_POSIX")
    formatter.timeZone = TimeZone(secondsFromGMT: 0)
    formatter.dateFormat = "EEE, d MMM yyyy HH:mm:ss '+0000'"
    return formatter.string(from: date)
  }
}

extension Mailbox {
  fileprivate var header: String {
    guard let name else { return "<\(address)>" }
    if name.isPlainHeader {
      let escaped = name.replacing("\\", with: "\\\\").replacing("\"", with: "\\\"")
      return "\"\(escaped)\" <\(address)>"
    }
    return name.encodedWords + " <\(address)>"
  }
}

extension String {
  /// An encoded word has at most 75 characters (RFC 2047, section 2); 45 bytes make one of 72.
  private static var encodedWordByteCountMax: Int { 45 }
  /// With the header's name, this makes a line of 76 characters.
  private static var plainHeaderLengthMax: Int { 66 }

  /// Whether it can be used in a header line without encoding.
  fileprivate var isPlainHeader: Bool {
    utf8.count <= Self.plainHeaderLengthMax && utf8.allSatisfy { (32...126).contains($0) } && !contains("=?")
  }

  /// For a header: the text itself if it is plain, otherwise encoded words (RFC 2047), one per line.
  fileprivate var encodedWords: String {
    if isPlainHeader { return self }
    var words: [[UInt8]] = [[]]
    for scalar in unicodeScalars {
      let bytes = Array(String(scalar).utf8)
      if words[words.count - 1].count + bytes.count > Self.encodedWordByteCountMax { words.append([]) }
      words[words.count - 1] += bytes
    }
    return words.map { "=?utf-8?B?\(Data($0).base64EncodedString())?=" }.joined(separator: "\r\n ")
  }
}

/// Quoted-printable (RFC 2045, section 6.7): text stays readable, lines are short, and every byte is ASCII.
enum QuotedPrintable {
  private static let lineLengthMax = 76
  private static let digits = Array("0123456789ABCDEF".utf8)

  static func encode(_ text: String) -> [UInt8] {
    var encoded: [UInt8] = []
    for line in text.replacing("\r\n", with: "\n").split(separator: "\n", omittingEmptySubsequences: false) {
      encode(Array(line.utf8), into: &encoded)
      encoded += [13, 10]
    }
    return encoded
  }

  private static func encode(_ line: [UInt8], into encoded: inout [UInt8]) {
    var length = 0
    for (index, byte) in line.enumerated() {
      let isBlank = byte == 32 || byte == 9
      let isPlain = isBlank ? index < line.count - 1 : (33...126).contains(byte) && byte != UInt8(ascii: "=")
      let unit = isPlain ? [byte] : [UInt8(ascii: "="), digits[Int(byte >> 4)], digits[Int(byte & 15)]]
      // One character is reserved for the `=` of a soft line break.
      if length + unit.count > lineLengthMax - 1 {
        encoded += [UInt8(ascii: "="), 13, 10]
        length = 0
      }
      encoded += unit
      length += unit.count
    }
  }
}
