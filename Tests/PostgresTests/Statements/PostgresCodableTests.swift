import Foundation
import Postgres
import Testing

@Suite("PostgresCodable")
struct PostgresCodableTests {
  private func roundTrip<Value: PostgresCodable & Equatable>(_ values: [Value]) async throws {
    try await withPool { pool async throws in
      for value in values {
        #expect(try await pool.query(Echo(value: value)) == [value])
      }
      #expect(try await pool.query(Echo<Value>(value: nil)) == [nil])
    }
  }

  @Test("booleans and NULL round-trip")
  func bool() async throws { try await roundTrip([true, false]) }

  @Test("integers up to their extremes and NULL round-trip")
  func integers() async throws {
    try await roundTrip([Int16.min, -1, 0, 1, .max])
    try await roundTrip([Int32.min, -1, 0, 1, .max])
    try await roundTrip([Int.min, -1, 0, 1, .max])
  }

  @Test("doubles round-trip bit by bit, and NULL")
  func doubles() async throws {
    try await roundTrip([
      0, 0.1, -1.5, .pi, .greatestFiniteMagnitude, .leastNonzeroMagnitude, .infinity, -.infinity,
    ])
    try await withPool { pool async throws in
      #expect(try await pool.query(Echo(value: Double.nan)).first??.isNaN == true)
      #expect(try await pool.query(Echo(value: -0.0)).first??.sign == .minus)
    }
  }

  @Test("texts round-trip: empty, with quotes, and in every script")
  func strings() async throws {
    try await roundTrip(["", " ", "it's \"quoted\" \\ $1", "Grüße, 日本語, עברית, 👩🏽‍💻, e\u{301}", "line\nline\ttab"])
  }

  @Test("a text with a NUL, which PostgreSQL cannot store, is refused by the server")
  func nul() async throws {
    try await withPool { pool async throws in
      let error = await #expect(throws: PostgresError.self) { try await pool.query(Echo(value: "a\0b")) }
      #expect(error?.sqlState == "22021")
      #expect(try await pool.query(One()) == [1])
    }
  }

  private enum Metal: String, PostgresCodable {
    case gold
    case roseGold = "rose gold"
  }

  @Test("enums of texts round-trip, alone and in arrays, and NULL")
  func enums() async throws {
    try await roundTrip([Metal.gold, .roseGold])
    try await roundTrip([[Metal.roseGold, .gold, .gold], []])
  }

  /// `select $1`, decoded as another type than it was sent as.
  private struct Decoded<Value: PostgresCodable>: PostgresStatement {
    typealias Row = Value
    static var sql: String { "select $1" }
    let value: any PostgresCodable
    func bind(_ bindings: inout PostgresBindings) { value.bind(to: &bindings) }
  }

  @Test("a text that is none of an enum's values is a decoding error that names both")
  func unknownText() async throws {
    try await withPool { pool async throws in
      #expect(try await pool.query(Decoded<Metal>(value: "rose gold")) == [.roseGold])
      let error = await #expect(throws: PostgresError.self) { try await pool.query(Decoded<Metal>(value: "tin")) }
      #expect(error?.code == .decoding && error?.message == "column 1 is not Metal: tin")
      let list = await #expect(throws: PostgresError.self) {
        try await pool.query(Decoded<[Metal]>(value: ["gold", "tin"]))
      }
      #expect(list?.code == .decoding)
    }
    // On a new connection, because the type of a parameter is that of the first execution.
    try await withPool { pool async throws in
      let number = await #expect(throws: PostgresError.self) { try await pool.query(Decoded<Metal>(value: 1)) }
      #expect(number?.message == "column 1 of type 20 is not Metal")
    }
  }

  @Test("bytes round-trip, all 256 of them and none")
  func bytes() async throws {
    try await roundTrip([PostgresBytes([]), PostgresBytes(0...255), PostgresBytes([0])])
  }

  @Test("UUIDs and NULL round-trip")
  func uuids() async throws {
    try await roundTrip([UUID(), UUID(uuid: (0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0))])
  }

  @Test("instants round-trip to the microsecond, before and after 2000, 1970 and 2001")
  func dates() async throws {
    let instants = [-7_000_000_000.5, -978_307_200, -1.000001, 0, 0.000001, 807_654_321.123456, 8_000_000_000.999999]
    try await roundTrip(instants.map { Date(timeIntervalSinceReferenceDate: $0) })
  }

  private struct Microseconds: PostgresStatement {
    static let sql = "select (extract(epoch from $1) * 1000000)::int8, '2000-01-01Z'::timestamptz + $2 * interval '1us'"
    let date: Date
    let sinceY2K: Int
    func bind(_ bindings: inout PostgresBindings) { bindings.append(date, sinceY2K) }
    static func decode(_ row: inout PostgresRow) throws(PostgresError) -> Parts {
      Parts(ofDate: try row.next(), date: try row.next())
    }
    struct Parts {
      let ofDate: Int
      let date: Date
    }
  }

  @Test("the server reads the exact microsecond that was sent, and so does the client")
  func microseconds() async throws {
    try await withPool { pool in
      let epochDistance = 946_684_800_000_000
      for microseconds in [
        0, 1, -1, 999_999, -999_999, 812_345_678_901_234, -3_155_673_600_000_001, 8_000_000_000_123_457,
      ] {
        let (seconds, rest) = (microseconds + epochDistance).quotientAndRemainder(dividingBy: 1_000_000)
        let date = Date(timeIntervalSince1970: Double(seconds)).addingTimeInterval(Double(rest) / 1_000_000)
        let parts = try #require(try await pool.query(Microseconds(date: date, sinceY2K: microseconds)).first)
        #expect(parts.ofDate == microseconds + epochDistance)
        #expect(try await pool.query(Microseconds(date: parts.date, sinceY2K: 0)).first?.ofDate == parts.ofDate)
      }
    }
  }

  private struct IsInfinite: PostgresStatement {
    typealias Row = Bool
    static let sql = "select not isfinite($1)"
    let date: Date
    func bind(_ bindings: inout PostgresBindings) { bindings.append(date) }
  }

  @Test("an infinite date is PostgreSQL's infinity; an invalid date is refused by the server without a crash")
  func impossibleDates() async throws {
    try await withPool { pool async throws in
      for seconds in [Double.infinity, -.infinity] {
        let date = Date(timeIntervalSinceReferenceDate: seconds)
        #expect(try await pool.query(IsInfinite(date: date)) == [true])
        let error = await #expect(throws: PostgresError.self) { try await pool.query(Echo(value: date)) }
        #expect(error?.code == .decoding && error?.message == "column 1 is infinite")
      }
      for seconds in [Double.nan, 1e13, -1e13, .greatestFiniteMagnitude] {
        let date = Date(timeIntervalSinceReferenceDate: seconds)
        let error = await #expect(throws: PostgresError.self) { try await pool.query(Echo(value: date)) }
        #expect(error?.sqlState == "22008")
      }
    }
  }

  private struct Day: PostgresStatement {
    static let sql = "select $1 = date '1999-12-25', $1"
    let date: PostgresDate
    func bind(_ bindings: inout PostgresBindings) { bindings.append(date) }
    static func decode(_ row: inout PostgresRow) throws(PostgresError) -> PostgresDate? {
      try row.next(Bool.self) ? try row.next() : nil
    }
  }

  @Test("days round-trip, and are the same days on the server")
  func days() async throws {
    try await roundTrip([-2_451_545, -1, 0, 1, 10_000].map { PostgresDate(daysSince2000: $0) })
    try await withPool { pool async throws in
      let day = PostgresDate(daysSince2000: -7)
      #expect(try await pool.query(Day(date: day)) == [day])
    }
  }

  @Test("an infinite day is not decoded")
  func infiniteDays() async throws {
    try await withPool { pool async throws in
      for days in [Int32.max, .min] {
        let error = await #expect(throws: PostgresError.self) {
          try await pool.query(Echo(value: PostgresDate(daysSince2000: days)))
        }
        #expect(error?.message == "column 1 is infinite")
      }
    }
  }

  @Test("arrays round-trip: empty, long, and with empty elements")
  func arrays() async throws {
    try await roundTrip([[], [1], Array(-500...500)])
    try await roundTrip([[], [""], ["", "a", "ü,{}\""]])
    try await roundTrip([[Int16.min, .max], []])
    try await roundTrip([[Int32.min, .max], []])
    try await roundTrip([[true, false], []])
    try await roundTrip([[0.5, -.infinity], []])
    try await roundTrip([[UUID(), UUID()], []])
    try await roundTrip([[PostgresBytes([]), PostgresBytes([0, 255])], []])
    try await roundTrip([[Date(timeIntervalSinceReferenceDate: 1.5)], []])
    try await roundTrip([[PostgresDate(daysSince2000: 1)], []])
  }

  @Test(
    "an array that claims more elements than it has bytes is refused, and no memory is allocated for it",
    arguments: [1, 2, .max] as [Int32])
  func lyingArray(_ count: Int32) {
    var bytes: [UInt8] = []
    for number in [1, 0, 20, count, 1] as [Int32] {
      withUnsafeBytes(of: number.bigEndian) { bytes.append(contentsOf: $0) }
    }
    bytes += [0, 0, 0]
    #expect(bytes.withUnsafeBytes { [Int](binary: $0, oid: 1016) } == nil)
  }

  private struct OddArrays: PostgresStatement {
    static let sql = "select '{{1,2},{3,4}}'::int8[], '{1,null}'::int8[], '[0:1]={1,2}'::int8[]"
    static func decode(_ row: inout PostgresRow) throws(PostgresError) -> [Bool] {
      var reads: [Bool] = []
      for _ in 0..<3 {
        do throws(PostgresError) {
          _ = try row.next([Int].self)
          reads.append(true)
        } catch {
          reads.append(error.code != .decoding)
        }
      }
      return reads
    }
  }

  @Test("an array of arrays or with a NULL is a clear error; an array with another lower bound is decoded")
  func oddArrays() async throws {
    try await withPool { pool async throws in #expect(try await pool.query(OddArrays()) == [[false, false, true]]) }
  }

  // MARK: Types of columns

  private struct Integers: PostgresStatement {
    static let sql = "select 7::int2, 7::int4, 7::int8, '{7}'::int4[]"
    static func decode(_ row: inout PostgresRow) throws(PostgresError) -> [Int] {
      [try row.next(), try row.next(), try row.next()] + (try row.next([Int].self))
    }
  }

  @Test("an Int reads every width of integer")
  func widening() async throws {
    try await withPool { pool async throws in #expect(try await pool.query(Integers()) == [[7, 7, 7, 7]]) }
  }

  private struct Texts: PostgresStatement {
    static let sql = "select 'x'::text, 'x'::varchar(9), 'x'::char(1), 'x'::name, '{}'::varchar[], '{\"a\": 1}'::json"
    static func decode(_ row: inout PostgresRow) throws(PostgresError) -> [String] {
      var texts: [String] = []
      for _ in 0..<4 { texts.append(try row.next()) }
      texts += try row.next([String].self)
      texts.append(try row.next())
      return texts
    }
  }

  @Test("a String reads every type of text")
  func textTypes() async throws {
    try await withPool { pool async throws in
      #expect(try await pool.query(Texts()) == [["x", "x", "x", "x", "{\"a\": 1}"]])
    }
  }

  private struct Misread<Value: PostgresCodable>: PostgresStatement {
    static var sql: String {
      """
      select 1, null::int8, true, 'text'::text, 1.5::float8, now(), current_date, '{1,null}'::int8[],
        '\\x000000000000000000000000'::bytea
      """
    }
    static func decode(_ row: inout PostgresRow) throws(PostgresError) -> Int {
      // The number of columns that can be decoded as Value.
      var count = 0
      for _ in 0..<9 {
        do throws(PostgresError) {
          if try row.next(Value?.self) != nil { count += 1 }
        } catch {
          guard error.code == .decoding else { throw error }
        }
      }
      return count
    }
  }

  @Test("a column is decoded as its own type and as no other")
  func misread() async throws {
    try await withPool { pool async throws in
      #expect(try await pool.query(Misread<Int16>()) == [0])
      #expect(try await pool.query(Misread<Int32>()) == [1])
      #expect(try await pool.query(Misread<Int>()) == [1])
      #expect(try await pool.query(Misread<Bool>()) == [1])
      #expect(try await pool.query(Misread<String>()) == [1])
      #expect(try await pool.query(Misread<Double>()) == [1])
      #expect(try await pool.query(Misread<Date>()) == [1])
      #expect(try await pool.query(Misread<PostgresDate>()) == [1])
      #expect(try await pool.query(Misread<PostgresBytes>()) == [1])
      #expect(try await pool.query(Misread<UUID>()) == [0])
      #expect(try await pool.query(Misread<[Int]>()) == [0])
    }
  }
}
