import Postgres
import Testing

@testable import Portal

@Suite("RateLimit")
struct RateLimitTests {
  @Test("a name has lower-case letters, digits, _ and -, and is not one of the two reserved names")
  func names() {
    for name in ["a", "daily", "per-day_2", "x" + String(repeating: "y", count: 31)] {
      #expect(RateLimit.isValid(name: name), "\(name)")
    }
    for name in [
      "", "default", "account", "Daily", "2nd", "-a", "a b", "a\"", "é", "default\u{301}",
      String(repeating: "y", count: 33),
    ] {
      #expect(!RateLimit.isValid(name: name), "\(name)")
    }
  }

  @Test("another name or window length is another limit, another maximum is the same limit")
  func identity() {
    let limit = RateLimit(name: "daily", limit: 10, windowSeconds: 86_400)
    #expect(RateLimit(name: "daily", limit: 20, windowSeconds: 86_400).digest == limit.digest)
    #expect(RateLimit(name: "dailx", limit: 10, windowSeconds: 86_400).digest != limit.digest)
    #expect(RateLimit(name: "daily", limit: 10, windowSeconds: 86_399).digest != limit.digest)
    for milliseconds in [86_400_001, 86_399_999, 86_400] {
      #expect(RateLimit(name: "daily", limit: 10, windowMilliseconds: milliseconds).digest != limit.digest)
    }
    #expect(
      RateLimit(name: "daily", limit: 10, windowMilliseconds: 86_400_000, isAutomatic: false).digest == limit.digest)
    // Windows continue after an upgrade.
    #expect(RateLimit.ofKey(perMinute: 1).digest == RateLimit(name: "default", limit: 1, windowSeconds: 60).digest)
    #expect(RateLimit.ofKey(perMinute: 1).digest != RateLimit.ofAccount(perMinute: 1).digest)
  }

  @Test("a bucket with other numbers is another one, and its window is the time in which it fills, a second at least")
  func buckets() {
    func bucket(_ size: Int, _ refill: Int, _ interval: Int, _ name: String = "a") -> RateLimit {
      RateLimit(name: name, bucket: .init(size: size, refill: refill, intervalMilliseconds: interval))
    }
    let one = bucket(10, 4, 10_000)
    #expect(one.bucket == .init(size: 10, refill: 4, intervalMilliseconds: 10_000) && one.limit == 10)
    #expect(one.windowMilliseconds == 25_000 && bucket(1, 1, 10).windowMilliseconds == 1_000)
    let others = [
      bucket(11, 4, 10_000), bucket(10, 5, 10_000), bucket(10, 4, 10_001), bucket(10, 4, 10_000, "b"),
      RateLimit(name: "a", limit: 10, windowMilliseconds: 10_000),
      RateLimit(name: "a", limit: 10, windowMilliseconds: 25_000),
    ]
    #expect(others.allSatisfy { $0.digest != one.digest } && bucket(10, 4, 10_000) == one)
    #expect(others[4].bucket == nil)
  }

  @Test("the length of a window in seconds is rounded up")
  func seconds() {
    for (milliseconds, seconds) in [(1_000, 1), (1_001, 2), (1_999, 2), (2_000, 2), (316_224_000_000, 316_224_000)] {
      #expect(RateLimit(name: "a", limit: 1, windowMilliseconds: milliseconds).windowSeconds == seconds)
    }
  }

  @Test("limits that were stored are read again, and other texts are decoding errors")
  func stored() throws {
    let limits = [
      RateLimit(name: "a", limit: 1, windowMilliseconds: 1_500),
      RateLimit(name: "b-2", limit: 1_000_000, windowMilliseconds: 316_224_000_000, isAutomatic: false),
      RateLimit(name: "c", bucket: .init(size: 5, refill: 1, intervalMilliseconds: 1), isAutomatic: false),
    ]
    #expect(try [RateLimit](column: limits.json) == limits && [RateLimit](column: nil) == [])
    for text in [
      "", "{}", "null", "[1]", "[null]", "[[]]", #"[{"name":"a"}]"#,
      #"[{"name":"A","limit":1,"windowMilliseconds":1000}]"#,
      #"[{"name":"a","limit":-1,"windowMilliseconds":1000}]"#, #"[{"name":"a","limit":1,"windowMilliseconds":999}]"#,
      #"[{"name":"a","limit":1,"windowMilliseconds":316224000001}]"#,
      #"[{"name":"a","limit":1,"windowMilliseconds":1000,"autoApply":1}]"#,
      #"[{"name":"a","limit":9223372036854775808,"windowMilliseconds":1000}]"#, #"[{"name":"a","bucket":{}}]"#,
      #"[{"name":"a","bucket":{"size":1,"refill":0,"intervalMilliseconds":1}}]"#,
      #"[{"name":"a","bucket":{"size":1000000,"refill":1,"intervalMilliseconds":316224000000}}]"#,
      "[" + Array(repeating: #"{"name":"a","limit":1,"windowMilliseconds":1000}"#, count: 51).joined(separator: ",")
        + "]",
    ] {
      let error = #expect(throws: PostgresError.self, "\(text)") { try [RateLimit](column: text) }
      #expect(error?.code == .decoding)
    }
  }

  @Test("header fields list at most ten limits, and the binding one is among them")
  func listed() {
    let wide = (1...30).map { standing(true, remaining: 100 + $0, retry: 0) }
    #expect(RateLimitDecision(Array(wide.prefix(10))).listed.all == Array(wide.prefix(10)))
    #expect(RateLimitDecision(wide).listed.all == Array(wide.prefix(10)))
    var some = wide
    some[20] = standing(false, remaining: 0, retry: 5)
    #expect(RateLimitDecision(some).listed.all == Array(wide.prefix(9)) + [some[20]])
    some[3] = standing(false, remaining: 0, retry: 50)
    #expect(RateLimitDecision(some).listed.all == Array(some.prefix(10)))
    #expect(RateLimitDecision.unlimited.listed == .unlimited)
  }

  private func standing(_ isAdmitted: Bool, remaining: Int, retry: Int?) -> RateLimitDecision.Standing {
    .init(
      limit: .ofKey(perMinute: 10),
      window: .init(
        isAdmitted: isAdmitted, limit: 10, remaining: remaining, resetSeconds: 1, retryAfterSeconds: retry))
  }

  @Test("the binding limit has the least remaining, or among those that refuse, the longest wait")
  func binding() {
    let (wide, narrow) = (standing(true, remaining: 9, retry: 0), standing(true, remaining: 2, retry: 0))
    let (short, long) = (standing(false, remaining: 0, retry: 3), standing(false, remaining: 1, retry: 40))
    func binding(_ standings: RateLimitDecision.Standing...) -> SlidingWindow.Decision? {
      RateLimitDecision(standings).binding
    }
    #expect(binding(wide) == wide.window)
    #expect(binding(wide, narrow) == narrow.window && binding(narrow, wide) == narrow.window)
    #expect(binding(narrow, short, wide) == short.window && binding(short, narrow) == short.window)
    #expect(binding(short, long) == long.window && binding(long, wide, short) == long.window)
    #expect(!RateLimitDecision([wide, short]).isAdmitted)
    // A limit that no waiting helps with refuses for longest.
    let never = standing(false, remaining: 5, retry: nil)
    #expect(binding(short, never, long) == never.window && binding(never, long, wide) == never.window)
  }
}
