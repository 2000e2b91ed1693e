import Foundation
import JSON
import Portal
import Testing

@testable import PortalAPI
@testable import PortalHTTP

@Suite("CSVWriter")
struct CSVWriterTests {
  private func line(_ cells: Cell...) -> String {
    var csv = CSVWriter()
    csv.row((), cells.map { cell in Column("c") { _ in cell } })
    return String(decoding: csv.bytes, as: UTF8.self)
  }

  @Test("every text is quoted, with its own quotes doubled; missing values are empty")
  func quotes() {
    #expect(
      line(.text("a,b"), .text("say \"hi\""), .text("two\r\nlines"), .text("ü b"), .text("x;=1+1"))
        == "\"a,b\",\"say \"\"hi\"\"\",\"two\r\nlines\",\"ü b\",\"x;=1+1\"\r\n")
    #expect(line(.text(""), .text(nil), .text(" ")) == "\"\",,\" \"\r\n")
  }

  /// Otherwise it would end the cell, and the rest would begin another.
  @Test("a quote with a combining accent is doubled, too")
  func accents() {
    let text = line(.text("x\"\u{301},=1+1"), .count(1))
    #expect(Array(text.utf8) == Array("\"x\"\"\u{301},=1+1\",1\r\n".utf8))
  }

  @Test(
    "a text that begins like a formula gets an apostrophe",
    arguments: [
      "=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1", "\n=1", "\t", "\u{FF1D}1+1", "\u{FF0B}1", "\u{FF0D}1",
      "\u{FF20}A1",
      " =1", "  \u{FF1D}1", "\u{A0}=1", "\u{3000}@x", "\u{FEFF}=1", "\u{200B}+1", " \u{202E}-1", "=\u{301}1",
      "\u{FF1D}\u{338}",
    ])
  func formulas(_ text: String) {
    #expect(Array(line(.text(text)).utf8) == Array("\"'\(text)\"\r\n".utf8))
  }

  @Test("quotes in a formula are doubled")
  func formulaWithQuotes() {
    #expect(
      line(.text("=HYPERLINK(\"http://x\",\"y\")")) == "\"'=HYPERLINK(\"\"http://x\"\",\"\"y\"\")\"\r\n")
  }

  @Test(
    "other texts stay as they are",
    arguments: ["1=1", "'=1", "a+b", "x;=1+1", " a=1", "\u{2212}1", "(1-1)", ""])
  func noFormulas(_ text: String) {
    #expect(line(.text(text)) == "\"\(text)\"\r\n")
  }

  @Test("numbers, even negative ones, are not formulas; other values are written as in JSON")
  func values() throws {
    let id = try #require(UUID(uuidString: "018F4E6A-0000-7000-8000-00000000000A"))
    #expect(
      line(
        .count(-5), .number(-1.23456), .ratio(0.1234567), .flag(true), .id(id), .time(Date(timeIntervalSince1970: 0)))
        == "-5,-1.235,0.123457,true,018f4e6a-0000-7000-8000-00000000000a,1970-01-01T00:00:00.000Z\r\n")
    #expect(line(.day(Day(number: 0)), .count(0)) == "1970-01-01,0\r\n")
    #expect(line(.number(nil), .ratio(nil), .id(nil), .time(nil), .day(nil)) == ",,,,\r\n")
    #expect(line(.number(.nan), .ratio(.infinity), .number(1e308)) == ",,\r\n")
  }
}
