import Foundation
import JSON

/// Writes CSV (RFC 4180): a header line, CRLF line endings, quotes around texts. Missing values are empty.
struct CSVWriter {
  static let mediaType = "text/csv; charset=utf-8; header=present"

  private(set) var bytes: [UInt8] = []

  /// Removes the content, but keeps the memory.
  mutating func clear() { bytes.removeAll(keepingCapacity: true) }

  mutating func header<Row>(_ columns: [Column<Row>]) {
    line(columns) { csv, column in csv.bytes.append(column.name) }
  }

  mutating func row<Row>(_ row: Row, _ columns: [Column<Row>]) {
    line(columns) { csv, column in csv.append(column.cell(row)) }
  }

  private mutating func line<Row>(_ columns: [Column<Row>], _ body: (inout CSVWriter, Column<Row>) -> Void) {
    for (index, column) in columns.enumerated() {
      if index > 0 { bytes.append(UInt8(ascii: ",")) }
      body(&self, column)
    }
    bytes.append("\r\n")
  }

  private mutating func append(_ cell: Cell) {
    switch cell {
    case .text(let text): if let text { append(text) }
    case .id(let id): if let id { bytes.append(hex: id) }
    case .time(let time): if let time { bytes.append(text: Timestamp.text(of: time)) }
    case .day(let day): if let day { bytes.append(text: day.description) }
    case .count(let count): bytes.append(decimal: count)
    case .number(let number): append(number, 1_000)
    case .ratio(let ratio): append(ratio, 1_000_000)
    case .flag(let flag): bytes.append(flag ? "true" : "false")
    }
  }

  /// With as many decimals as in JSON.
  private mutating func append(_ number: Double?, _ scale: Double) {
    if let text = number?.text(parts: scale) { bytes.append(text: text) }
  }

  /// Customers choose these texts, and staff open them in spreadsheets. Every text is quoted, whatever is in it. A text
  /// that begins like a formula gets an apostrophe in front, which makes a spreadsheet treat it as text (OWASP, "CSV
  /// Injection").
  private mutating func append(_ text: String) {
    bytes.append("\"")
    if text.isFormula { bytes.append("'") }
    // Compared by bytes: a quote with a combining accent is another character, but it ends the cell just the same.
    let quote = UInt8(ascii: "\"")
    if text.utf8.contains(quote) {
      for byte in text.utf8 {
        if byte == quote { bytes.append(quote) }
        bytes.append(byte)
      }
    } else {
      bytes.append(text: text)
    }
    bytes.append("\"")
  }
}

extension String {
  /// Whether a spreadsheet might treat the text as a formula, by the first character that is neither a blank nor
  /// invisible. Spreadsheets convert full-width signs to plain ones.
  fileprivate var isFormula: Bool {
    for scalar in unicodeScalars {
      switch scalar {
      case "=", "+", "-", "@", "\t", "\r", "\n", "\u{FF1D}", "\u{FF0B}", "\u{FF0D}", "\u{FF20}": return true
      default:
        guard scalar.properties.isWhitespace || scalar.properties.isDefaultIgnorableCodePoint else { return false }
      }
    }
    return false
  }
}
