import Foundation
import Postgres
import Testing

@Suite("PostgresRow")
struct PostgresRowTests {
  private struct WrongType: PostgresStatement {
    static let sql = "select 1, 'two'::text"
    static func decode(_ row: inout PostgresRow) throws(PostgresError) -> Int {
      _ = try row.next(Int.self)
      return try row.next()
    }
  }

  private struct UnexpectedNull: PostgresStatement {
    typealias Row = Int
    static let sql = "select null::int8"
  }

  private struct TooFewColumns: PostgresStatement {
    static let sql = "select 1"
    static func decode(_ row: inout PostgresRow) throws(PostgresError) -> Int {
      try row.next(Int.self) + row.next(Int.self)
    }
  }

  private func decodingError(_ statement: some PostgresStatement) async throws -> PostgresError {
    try await withPool { pool in
      let error = await #expect(throws: PostgresError.self) { _ = try await pool.query(statement) }
      #expect(try await pool.query(One()) == [1])
      return try #require(error)
    }
  }

  @Test("a column of another type is a decoding error that names the column and the statement")
  func wrongType() async throws {
    let error = try await decodingError(WrongType())
    #expect(error.code == .decoding)
    #expect(error.statement == "WrongType")
    #expect(error.message == "column 2 of type 25 is not Int")
  }

  @Test("a NULL where none is allowed is a decoding error that names the column and the statement")
  func unexpectedNull() async throws {
    let error = try await decodingError(UnexpectedNull())
    #expect(error.code == .decoding)
    #expect(error.statement == "UnexpectedNull")
    #expect(error.message == "column 1 is NULL")
  }

  private struct InfiniteTime: PostgresStatement {
    static let sql = "select now(), '-infinity'::timestamptz"
    static func decode(_ row: inout PostgresRow) throws(PostgresError) -> Date {
      _ = try row.next(Date.self)
      return try row.next()
    }
  }

  private struct InfiniteDay: PostgresStatement {
    typealias Row = PostgresDate?
    static let sql = "select 'infinity'::date"
  }

  private struct InfiniteTimes: PostgresStatement {
    typealias Row = [Date]
    static let sql = "select array['infinity'::timestamptz, '-infinity']"
  }

  @Test("an infinite time or day is a decoding error that says so and names the column and the statement")
  func infiniteTimes() async throws {
    let time = try await decodingError(InfiniteTime())
    #expect(time.code == .decoding)
    #expect(time.statement == "InfiniteTime")
    #expect(time.message == "column 2 is infinite")
    let day = try await decodingError(InfiniteDay())
    #expect(day.code == .decoding)
    #expect(day.message == "column 1 is infinite")
    #expect(try await decodingError(InfiniteTimes()).code == .decoding)
  }

  @Test("reading past the last column is a decoding error that names the column and the statement")
  func pastTheEnd() async throws {
    let error = try await decodingError(TooFewColumns())
    #expect(error.code == .decoding)
    #expect(error.statement == "TooFewColumns")
    #expect(error.message == "column 2 is past the last column")
  }
}
