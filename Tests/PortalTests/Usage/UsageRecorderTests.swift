import Foundation
import Testing

@testable import Portal

@Suite("UsageRecorder")
struct UsageRecorderTests {
  private let now = Date(timeIntervalSince1970: 1_800_000_000)
  private let recorder = UsageRecorder()

  private func seal() -> [UsageCounter] { recorder.seal().flatMap { $0.read().counters } }

  @Test("verdicts are counted by account, key, hour and endpoint")
  func counted() {
    recorder.verified(.counted(1), "/a", isValid: true, at: now)
    recorder.verified(.counted(1), "/a", isValid: false, at: now.addingTimeInterval(1))
    recorder.verified(.counted(1), "/b", isValid: true, at: now)
    recorder.verified(.counted(2), "/a", isValid: true, at: now)
    recorder.verified(.counted(1), "/a", isValid: true, at: now.addingTimeInterval(3_600))
    let counters = seal()
    #expect(counters.count == 4)
    let hour = 500_000
    #expect(
      counters.contains(
        UsageCounter(
          accountID: .numbered(100), keyID: .numbered(1), hour: hour, endpoint: "/a", verified: 1, denied: 1,
          lastUsedAt: now.milliseconds + 1_000)))
    #expect(counters.count { $0.hour == hour && $0.verified == 1 && $0.denied == 0 } == 2)
    #expect(counters.count { $0.hour == hour + 1 && $0.verified == 1 && $0.endpoint == "/a" } == 1)
  }

  @Test("sealing empties the counters, and takes nothing if nothing was counted")
  func sealEmpties() {
    recorder.verified(.counted(1), "/a", isValid: true, at: now)
    #expect(seal().count == 1)
    #expect(recorder.seal().isEmpty)
    recorder.verified(.counted(1), "/a", isValid: true, at: now)
    #expect(seal().map(\.verified) == [1])
  }

  @Test("concurrent counting and sealing lose nothing and count nothing twice, across extents of all sizes")
  func concurrent() async throws {
    try await withFolder { folder in
      let recorder = UsageRecorder(spoolFolder: folder)
      let taken = await concurrently(34) { index in
        var taken: [UsageCounter] = []
        for number in 0..<1_000 {
          let key = CountedKey.counted((index + number) % 400)
          if index >= 32 {
            for extent in recorder.seal() {
              taken += extent.read().counters
              extent.removeFile()
            }
          } else {
            recorder.verified(key, "/e\(number % 7)", isValid: number % 4 > 0, at: now)
          }
          if number.isMultiple(of: 50) { await Task.yield() }
        }
        return taken
      }
      let all = taken.values.flatMap(\.self) + recorder.seal().flatMap { $0.read().counters }
      #expect(all.reduce(0) { $0 + $1.verified } == 32 * 750)
      #expect(all.reduce(0) { $0 + $1.denied } == 32 * 250)
      #expect(taken.values.contains { !$0.isEmpty })
    }
  }

  @Test("extents are taken in the order of their numbers, without gaps, and their size follows the load")
  func sizes() {
    for number in 0..<20_000 { recorder.verified(.counted(number), "/", isValid: true, at: now) }
    let first = recorder.seal()
    #expect(first.count > 3)
    #expect(first.map(\.number) == Array(1...first.count))
    #expect(zip(first, first.dropFirst()).allSatisfy { $1.slotsPerShard == 2 * $0.slotsPerShard })
    #expect(first.flatMap { $0.read().counters }.reduce(0) { $0 + $1.verified } == 20_000)
    for number in 0..<5_000 { recorder.verified(.counted(number), "/", isValid: true, at: now) }
    #expect(recorder.seal().map(\.number) == [first.count + 1])
    var sizes: [Int] = []
    for _ in 0..<10 {
      recorder.verified(.counted(1), "/", isValid: true, at: now)
      sizes += recorder.seal().map(\.slotsPerShard)
    }
    #expect(sizes.last == UsageLayout.slotsPerShardMin && sizes == sizes.sorted(by: >))
  }

  // MARK: Bounds

  @Test("verdicts before 1970, from a wrong clock, count in its first hour")
  func beforeTheEpoch() {
    for seconds in [-1.0, -1e9, -1e300, -.infinity] {
      recorder.verified(.counted(1), "/a", isValid: true, at: Date(timeIntervalSince1970: seconds))
    }
    let counters = seal()
    #expect(counters.map(\.verified) == [4] && counters.map(\.hour) == [0] && counters.map(\.lastUsedAt) == [0])
  }

  @Test("an account's endpoints beyond 500 in a day are counted as other")
  func endpoints() {
    for number in 0..<520 { recorder.verified(.counted(1), "/e\(number)", isValid: true, at: now) }
    for number in 0..<520 { recorder.verified(.counted(2), "/e\(number)", isValid: true, at: now) }
    let counters = seal()
    let others = counters.filter { $0.endpoint == UsageRecorder.overflowEndpoint }
    #expect(others.count == 2 && others.allSatisfy { $0.verified == 20 })
    #expect(Set(counters.map { "\($0.keyID) \($0.endpoint)" }).count == 2 * 501)
  }

  @Test("known endpoints remain known after sealing, and each account has its own quota")
  func endpointsAfterSeal() {
    for number in 0..<500 { recorder.verified(.counted(1), "/e\(number)", isValid: true, at: now) }
    _ = recorder.seal()
    for endpoint in ["/e0", "/e499", "/new"] { recorder.verified(.counted(1), endpoint, isValid: true, at: now) }
    recorder.verified(.counted(2, of: 101), "/new", isValid: true, at: now)
    let endpoints = seal().map { "\($0.accountID.text.suffix(3)) \($0.endpoint)" }.sorted()
    #expect(endpoints == ["100 /e0", "100 /e499", "100 other", "101 /new"])
  }

  @Test("the next day starts with a new quota, and a late verdict of the day before does not reset it")
  func nextDay() {
    for number in 0..<500 { recorder.verified(.counted(1), "/e\(number)", isValid: true, at: now) }
    let tomorrow = now.addingTimeInterval(86_400)
    for number in 0..<500 { recorder.verified(.counted(1), "/n\(number)", isValid: true, at: tomorrow) }
    recorder.verified(.counted(1), "/late", isValid: true, at: now)
    recorder.verified(.counted(1), "/more", isValid: true, at: tomorrow)
    let others = seal().filter { $0.endpoint == "other" }
    #expect(others.map(\.hour).sorted() == [500_000, 500_024])
  }
}
