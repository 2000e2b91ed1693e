import Foundation
import Testing

@testable import PortalHTTP

@Suite("CSVWriter")
struct CSVWriterTests {
  private func line(_ cells: Cell...) -> String {
    var csv = CSVWriter()
    csv.row((), cells.map { cell in Column("c") { _ in cell } })
    return String(decoding: csv.bytes, as: UTF8.self)
  }

  @Test("commas, quotes and line breaks stand in quotes, quotes twice; anything else stands as it is")
  func quotes() {
    #expect(
      line(.text("a,b"), .text("say \"hi\""), .text("two\r\nlines"), .text("ü b"))
        == "\"a,b\",\"say \"\"hi\"\"\",\"two\r\nlines\",ü b\r\n")
    #expect(line(.text(""), .text(nil), .text(" ")) == ",, \r\n")
  }

  @Test(
    "a text that a spreadsheet would take for a formula is text",
    arguments: [
      ("=1+1", "'=1+1"), ("+1", "'+1"), ("-1", "'-1"), ("@SUM(A1)", "'@SUM(A1)"), ("\t=1", "'\t=1"),
      ("=HYPERLINK(\"http://x\",\"y\")", "\"'=HYPERLINK(\"\"http://x\"\",\"\"y\"\")\""), ("\r=1", "\"'\r=1\""),
      ("1=1", "1=1"), ("'=1", "'=1"),
    ])
  func formulas(_ text: String, _ cell: String) {
    #expect(line(.text(text)) == cell + "\r\n")
  }

  @Test("numbers are no formulas, not even negative ones; they and what else there is stand as in JSON")
  func values() throws {
    let id = try #require(UUID(uuidString: "018F4E6A-0000-7000-8000-00000000000A"))
    #expect(
      line(
        .count(-5), .number(-1.23456), .ratio(0.1234567), .flag(true), .id(id), .time(Date(timeIntervalSince1970: 0)))
        == "-5,-1.235,0.123457,true,018f4e6a-0000-7000-8000-00000000000a,1970-01-01T00:00:00.000Z\r\n")
    #expect(line(.number(nil), .ratio(nil), .id(nil), .time(nil)) == ",,,\r\n")
    #expect(line(.number(.nan), .ratio(.infinity), .number(1e308)) == ",,\r\n")
  }
}
