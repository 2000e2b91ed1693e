import Postgres
import PostgresTesting
import Testing

@testable import Portal

@Suite("EndpointLimits")
struct EndpointLimitsTests {
  private let plain = WindowLimit(limit: 1, windowMilliseconds: 1_000)

  private func limits(_ patterns: [String]) throws -> EndpointLimits {
    EndpointLimits(
      try patterns.map { EndpointLimits.Entry(try #require(EndpointLimits.pattern($0)), otherwise: plain) })
  }

  private func limit(_ limit: Int, per milliseconds: Int) -> WindowLimit {
    WindowLimit(limit: limit, windowMilliseconds: milliseconds)
  }

  @Test(
    "the most specific pattern wins: literal bytes, then fewer stars, then the text",
    arguments: [
      ("GET /a", "GET /a"), ("GET /ab", "GET /a*"), ("GET /b", "GET /*"), ("PUT /c", "P*"), ("POST /b", "P*/b"),
      ("x/y", "x*"), ("y/z", "y*"), ("ax", "*x"), ("none", nil), ("", nil), ("GET", nil), ("mn", "m*n"), ("mnn", "m*n"),
    ] as [(String, String?)])
  func mostSpecific(_ endpoint: String, _ pattern: String?) throws {
    var patterns = [
      "GET /*", "GET /a", "GET /a*", "P*", "P*/b", "*P*", "x*", "*x*", "*x", "y*", "*y*", "m*n", "m*n*",
    ]
    for _ in 0..<patterns.count {
      patterns.append(patterns.removeFirst())
      #expect(try limits(patterns).entry(for: endpoint)?.pattern.text == pattern)
    }
  }

  @Test("patterns that are equally specific are ordered by their bytes")
  func byBytes() throws {
    #expect(try limits(["m*", "*m"]).entry(for: "mm")?.pattern.text == "*m")
    #expect(try limits(["é*", "*\u{301}"]).entry(for: "é\u{301}")?.pattern.text == "*\u{301}")
  }

  @Test("a name that is matched by no pattern has no limit")
  func none() throws {
    #expect(try limits([]).entry(for: "GET /a") == nil)
    #expect(EndpointLimits.pattern(String(repeating: "a", count: 201)) == nil)
    #expect(EndpointLimits.pattern(String(repeating: "a*", count: 11)) == nil)
    #expect(EndpointLimits.pattern(String(repeating: "a*", count: 10)) != nil)
  }

  @Test("of the roles that have an entry the highest applies, even below the limit of keys without a role")
  func roles() throws {
    let entry = EndpointLimits.Entry(
      try #require(EndpointLimits.pattern("*")), otherwise: limit(100, per: 60_000),
      roles: [
        "slow": limit(1, per: 60_000), "pro": limit(1_000, per: 60_000), "steady": limit(10, per: 1_000),
        "burst": limit(1_000, per: 100_000), "same": limit(600, per: 60_000),
      ])
    let cases: [([String], WindowLimit)] = [
      ([], limit(100, per: 60_000)), (["other"], limit(100, per: 60_000)), (["slow"], limit(1, per: 60_000)),
      (["slow", "pro", "steady"], limit(1_000, per: 60_000)), (["steady", "slow", "other"], limit(10, per: 1_000)),
      // All of these allow ten a second.
      (["steady", "burst", "same"], limit(1_000, per: 100_000)), (["steady", "same"], limit(600, per: 60_000)),
    ]
    for (held, expected) in cases {
      #expect(entry.limit(roles: held) == expected && entry.limit(roles: held.reversed()) == expected, "\(held)")
    }
  }

  @Test("limits are compared exactly, whatever their numbers")
  func exact() {
    let day = 86_400_000
    #expect(limit(1_000_000, per: 3_652 * day).isHigher(than: limit(999_999, per: 3_652 * day)))
    // Fractions that are the same as a Double.
    #expect(limit(.max, per: .max - 1).isHigher(than: limit(.max - 1, per: .max - 1)))
    #expect(limit(.max - 1, per: .max - 2).isHigher(than: limit(.max, per: .max - 1)))
    #expect(!limit(0, per: 1).isHigher(than: limit(0, per: day)) && !limit(5, per: 7).isHigher(than: limit(5, per: 7)))
    for number in [Int.min, -1, 0, 1, .max] {
      for other in [Int.min, -1, 0, 1, .max] {
        _ = limit(number, per: other).isHigher(than: limit(other, per: number))
      }
    }
  }

  @Test("limits that were stored are read again, and other texts are decoding errors")
  func stored() throws {
    let limits = EndpointLimits([
      .init(try #require(EndpointLimits.pattern(#"GET /\"é"#)), otherwise: limit(5, per: 316_224_000_000)),
      .init(
        try #require(EndpointLimits.pattern("*")), otherwise: plain,
        roles: ["pro": limit(1_000_000, per: 1_500), "a": limit(2, per: 60_000)]),
    ])
    #expect(try EndpointLimits(column: limits.json) == limits)
    #expect(try EndpointLimits(column: nil).entries.isEmpty && EndpointLimits(column: "[]").entries.isEmpty)
    for text in [
      "", "{}", "null", "[1]", "[{}]", #"[{"endpoint":"","limit":1,"windowMilliseconds":1000}]"#,
      #"[{"endpoint":"a","limit":-1,"windowMilliseconds":1000}]"#, #"[{"endpoint":"a","limit":1}]"#,
      #"[{"endpoint":"a","limit":1,"windowMilliseconds":999}]"#,
      #"[{"endpoint":"a","limit":1,"windowMilliseconds":1000,"roles":[]}]"#,
      #"[{"endpoint":"a","limit":1,"windowMilliseconds":1000,"roles":{"a":{"limit":1}}}]"#,
    ] {
      let error = #expect(throws: PostgresError.self, "\(text)") { try EndpointLimits(column: text) }
      #expect(error?.code == .decoding)
    }
  }
}
