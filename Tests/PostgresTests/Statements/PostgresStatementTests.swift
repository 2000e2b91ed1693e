import Postgres
import Testing

@Suite("PostgresStatement")
struct PostgresStatementTests {
  private struct Value: PostgresStatement {
    typealias Row = Int
    static let sql = "select $1, 'unread'"
    let value: Int?
    func bind(_ bindings: inout PostgresBindings) { bindings.append(value) }
  }

  private struct OptionalValue: PostgresStatement {
    typealias Row = Int?
    static let sql = "select $1, 'unread'"
    let value: Int?
    func bind(_ bindings: inout PostgresBindings) { bindings.append(value) }
  }

  @Test("by default, a row that is one value is decoded from the first column")
  func defaultDecode() async throws {
    try await withPool { pool async throws in
      #expect(try await pool.query(Value(value: 7)) == [7])
      #expect(try await pool.query(OptionalValue(value: 7)) == [7])
      #expect(try await pool.query(OptionalValue(value: nil)) == [nil])
      let error = await #expect(throws: PostgresError.self) { try await pool.query(Value(value: nil)) }
      #expect(error?.code == .decoding && error?.message == "column 1 is NULL")
    }
  }

  @Test("the only row is returned; without one, the error names the statement")
  func one() throws {
    #expect(try Value.one(of: [7]) == 7)
    let error = #expect(throws: PostgresError.self) { try Value.one(of: []) }
    #expect(error?.code == .decoding && error?.statement == "Value" && error?.message == "returned no row")
  }
}
