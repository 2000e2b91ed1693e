import Foundation
import Testing

@testable import Portal

@Suite("UsageRecorder")
struct UsageRecorderTests {
  private let now = Date(timeIntervalSince1970: 1_800_000_000)
  private let recorder = UsageRecorder()

  private func key(_ number: Int, of account: Int = 100) -> VerifiableKey {
    VerifiableKey(
      id: .numbered(number), accountID: .numbered(account), name: "Key", environment: .live, scopes: [],
      rateLimitPerMinute: 60, isRevoked: false, isSuspended: false, isDisabled: false)
  }

  private func outcome(_ key: Int, _ endpoint: String) -> ReportedOutcome {
    ReportedOutcome(keyID: .numbered(key), endpoint: endpoint, status: 200, latencyMilliseconds: 1)
  }

  @Test("verdicts and outcomes are counted by account, key, day and endpoint")
  func counted() {
    let tomorrow = now.addingTimeInterval(86_400)
    recorder.verified(key(1), "/a", isValid: true, at: now)
    recorder.verified(key(1), "/a", isValid: false, at: now.addingTimeInterval(1))
    recorder.verified(key(1), "/b", isValid: true, at: now)
    recorder.verified(key(2), "/a", isValid: true, at: now)
    recorder.reported(outcome(1, "/a"), of: .numbered(100), at: now)
    recorder.reported(outcome(1, "/a"), of: .numbered(100), at: tomorrow)
    let counters = recorder.seal().counters
    #expect(counters.count == 4)
    func counts(_ key: Int, _ date: Date, _ endpoint: String) -> UsageCounts? {
      counters[
        UsageKey(accountID: .numbered(100), keyID: .numbered(key), day: Day(containing: date), endpoint: endpoint)]
    }
    #expect(counts(1, now, "/a").map { [$0.verified, $0.denied, $0.reported] } == [1, 1, 1])
    #expect(counts(1, now, "/a")?.lastUsedAt == now.addingTimeInterval(1))
    #expect(counts(1, now, "/b")?.verified == 1)
    #expect(counts(2, now, "/a")?.verified == 1)
    #expect(counts(1, tomorrow, "/a").map { [$0.verified, $0.reported] } == [0, 1])
  }

  @Test("taking the counters empties them")
  func sealEmpties() {
    recorder.verified(key(1), "/a", isValid: true, at: now)
    #expect(recorder.seal().counters.count == 1)
    #expect(recorder.seal().isEmpty)
    recorder.verified(key(1), "/a", isValid: true, at: now)
    #expect(recorder.seal().counters.values.map(\.verified) == [1])
  }

  @Test("nothing is lost or counted twice, however many count while others take")
  func concurrent() async {
    let keys = (0..<40).map { key($0) }
    let taken = await concurrently(34) { index in
      var taken = UsageCounts()
      for number in 0..<500 {
        let key = keys[(index + number) % keys.count]
        switch (index, number % 3) {
        case (32..., _):
          for counts in recorder.seal().counters.values { taken.merge(counts) }
        case (_, 0): recorder.reported(outcome(number % 40, "/\(number % 7)"), of: key.accountID, at: now)
        case (_, let rest): recorder.verified(key, "/\(number % 7)", isValid: rest == 1, at: now)
        }
        if number.isMultiple(of: 50) { await Task.yield() }
      }
      return taken
    }
    var whole = UsageCounts()
    for counts in taken.values + Array(recorder.seal().counters.values) { whole.merge(counts) }
    #expect(whole.reported == 32 * 167 && whole.verified == 32 * 167 && whole.denied == 32 * 166)
    #expect(whole.latencyCount == whole.reported && whole.latencySumMilliseconds == Double(whole.reported))
    #expect(taken.values.contains { $0 != UsageCounts() })
  }

  // MARK: Bounds

  @Test("an account's five hundred and first endpoint of a day, and all after it, are counted as other")
  func endpoints() {
    for number in 0..<520 { recorder.verified(key(1), "/\(number)", isValid: true, at: now) }
    for number in 0..<520 { recorder.verified(key(2), "/\(number)", isValid: true, at: now) }
    let counters = recorder.seal().counters
    #expect(counters.count == 2 * 501)
    for key in [1, 2] {
      let other = counters.first { $0.key.keyID == .numbered(key) && $0.key.endpoint == UsageRecorder.overflowEndpoint }
      #expect(other?.value.verified == 20)
    }
  }

  @Test("what is known stays so after the counters were taken, and another account has a share of its own")
  func endpointsAfterSeal() {
    for number in 0..<500 { recorder.verified(key(1), "/\(number)", isValid: true, at: now) }
    _ = recorder.seal()
    for endpoint in ["/0", "/499", "/new"] { recorder.verified(key(1), endpoint, isValid: true, at: now) }
    recorder.verified(key(2, of: 101), "/new", isValid: true, at: now)
    let endpoints = recorder.seal().sorted.map { [$0.key.accountID.text.suffix(3), $0.key.endpoint[...]] }
    #expect(endpoints == [["100", "/0"], ["100", "/499"], ["100", "other"], ["101", "/new"]])
  }

  @Test("the next day begins with an empty share, and late reports of the day before don't empty it again")
  func nextDay() {
    let (today, tomorrow) = (Day(containing: now), Day(containing: now).advanced(by: 1))
    let account = UUID.numbered(100)
    for number in 0..<500 { #expect(recorder.boundedEndpoint("/\(number)", of: account, on: today) == "/\(number)") }
    #expect(recorder.boundedEndpoint("/new", of: account, on: today) == "other")
    for number in 0..<500 {
      #expect(recorder.boundedEndpoint("/n\(number)", of: account, on: tomorrow) == "/n\(number)")
    }
    #expect(recorder.boundedEndpoint("/late", of: account, on: today) == "other")
    #expect(recorder.boundedEndpoint("/more", of: account, on: tomorrow) == "other")
  }
}
