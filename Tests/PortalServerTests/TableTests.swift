import Foundation
import JSON
import PortalAPI
import PortalHTTP
import PortalTesting
import Testing

@testable import PortalServer

@Suite("Tables of the command line")
struct TableTests {
  private func makeTable(_ columns: [Table.Column], _ rows: [String?]...) -> Table {
    var table = Table(columns)
    for row in rows { table.add(row) }
    return table
  }

  @Test("columns are as wide as their widest cell, numbers are aligned to the right, and no line ends with spaces")
  func aligned() {
    let table = makeTable(["ID", .number("KEYS"), "NAME"], ["a", "7", "Acme"], ["longer", "12345", "B"])
    #expect(table.text() == "ID       KEYS  NAME\na           7  Acme\nlonger  12345  B\n")
    #expect(table.text(hasHeadings: false) == "a           7  Acme\nlonger  12345  B\n")
    let narrow = makeTable(["IDENTIFIER", "X"], ["a", "b"])
    #expect(narrow.text(hasHeadings: false) == "a  b\n")
  }

  @Test("a missing cell is a dash, and a surplus cell is dropped")
  func cells() {
    let table = makeTable(["A", "B", "C"], [nil, "", "c"], ["a"], ["a", "b", "c", "d"])
    #expect(table.text(hasHeadings: false) == "-  -  c\na  -  -\na  b  c\n")
  }

  @Test("a table without rows prints only headings, and nothing without headings")
  func empty() {
    #expect(Table(["ID", "NAME"]).text() == "ID  NAME\n")
    #expect(Table(["ID", "NAME"]).text(hasHeadings: false) == "")
    #expect(Table([]).text(hasHeadings: false) == "")
  }

  @Test("nothing that moves the cursor, is invisible or reverses text reaches the terminal")
  func masked() {
    let table = makeTable(
      ["NAME", "X"], ["a\u{1B}[31mb", "1"], ["a\nb", "2"], ["a\u{9B}2Jb", "3"], ["a\u{202E}b\u{7F}", "4"],
      ["\u{200B}", "5"])
    let text = table.text(hasHeadings: false)
    #expect(
      text == "a\u{FFFD}[31mb  1\na\u{FFFD}b      2\na\u{FFFD}2Jb    3\na\u{FFFD}b\u{FFFD}     4\n\u{FFFD}        5\n")
  }

  @Test(
    "a line is as wide as it looks",
    arguments: [
      ("", 0), ("abc", 3), ("é", 1), ("e\u{301}", 1), ("\u{FFFD}", 1), ("日本", 4), ("ｗ", 2), ("각", 2),
      ("\u{1112}\u{1161}\u{11AB}", 2), ("👩\u{200D}🚀", 2), ("🇩🇪", 2), ("☂", 1), ("☂\u{FE0F}", 2), ("می\u{200C}خواهم", 7),
    ])
  func width(line: String, width: Int) {
    #expect(TerminalText.width(of: line) == width)
  }

  @Test("text with wide characters is aligned with other text")
  func wide() {
    let table = makeTable(["NAME", "X"], ["日本", "1"], ["ab", "2"])
    #expect(table.text() == "NAME  X\n日本  1\nab    2\n")
  }

  @Test("text of several lines keeps its line breaks, but no other invisible characters")
  func lines() {
    #expect(TerminalText.lines("a\nb\r\tc\n\u{1B}]0;x\u{7}") == "a\nb\u{FFFD}\u{FFFD}c\n\u{FFFD}]0;x\u{FFFD}")
  }

  @Test("JSON with escapes in place of invisible characters has the same meaning")
  func json() throws {
    let plain = JSONWriter.object { $0.field("name", "Acme \"é\" 日") }.bytes
    #expect(TerminalText.json(plain) == plain)
    let text = "a\u{7F}\u{9B}\u{202E}\u{E0001}b\u{2028}"
    let escaped = TerminalText.json(JSONWriter.object { $0.field("name", text) }.bytes)
    #expect(
      String(decoding: escaped, as: UTF8.self)
        == #"{"name":"a\u007f\u009b\u202e\udb40\udc01b\u2028"}"#)
    #expect(try JSONParser.parse(escaped)["name"].string == text)
  }
}
