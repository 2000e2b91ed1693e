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
    #expect(RateLimit.ofKey(perMinute: 1).digest != RateLimit.ofAccount(perMinute: 1).digest)
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
