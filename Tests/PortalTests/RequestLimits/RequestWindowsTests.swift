import Testing

@testable import Portal

@Suite("RequestWindows")
struct RequestWindowsTests {
  private final class Windows {
    var value: RequestWindows<Int>
    var count: Int { value.count }

    init(_ countMax: Int) { value = RequestWindows(countMax: countMax) }

    func hasRoom(_ subject: Int, limit: Int, at now: Int) -> Bool { value.hasRoom(subject, limit: limit, at: now) }
  }

  /// The start of a minute.
  private let start = 1_800_000_000_000
  private let minute = 60_000

  /// How many of `count` requests at the same time are let through.
  private func admitted(
    _ count: Int, of subject: Int = 1, limit: Int = 10, _ windows: Windows, at milliseconds: Int
  ) -> Int {
    var admitted = 0
    for _ in 0..<count where windows.value.admit(subject, limit: limit, at: start + milliseconds).isAdmitted {
      admitted += 1
    }
    return admitted
  }

  @Test("each subject has its own limit")
  func limit() {
    let windows = Windows(100)
    #expect(admitted(15, of: 1, windows, at: 0) == 10)
    #expect(admitted(15, of: 2, windows, at: 1) == 10)
    #expect(!windows.hasRoom(1, limit: 10, at: start + 2) && windows.hasRoom(3, limit: 10, at: start + 2))
    let refused = windows.value.admit(1, limit: 10, at: start + 6_000)
    #expect(refused.remaining == 0 && refused.resetSeconds == 54 && refused.retryAfterSeconds == 60)
  }

  @Test("the previous minute counts by the part of it that is less than a minute ago")
  func sliding() {
    let windows = Windows(100)
    #expect(admitted(15, windows, at: minute - 1) == 10)
    #expect(admitted(15, windows, at: minute) == 0)
    #expect(admitted(15, windows, at: minute + 30_000) == 5)
    #expect(admitted(15, windows, at: 2 * minute - 1) == 4)
    #expect(admitted(15, windows, at: 4 * minute) == 10)
  }

  @Test("refused requests do not count: retrying does not delay admission")
  func refusedIsFree() {
    let windows = Windows(100)
    #expect(admitted(1_000, windows, at: 0) == 10)
    #expect(admitted(1, windows, at: minute + 6_000) == 1)
  }

  @Test("a subject beyond the bound evicts the subject with the oldest window, and no other")
  func eviction() {
    let windows = Windows(3)
    for subject in 1...3 { #expect(admitted(10, of: subject, windows, at: subject) == 10) }
    // Its window is of this minute now.
    #expect(admitted(1, of: 1, windows, at: minute + 30_000) == 1)
    #expect(admitted(10, of: 4, windows, at: minute + 30_001) == 10)
    #expect(windows.count == 3)
    #expect(!windows.hasRoom(1, limit: 5, at: start + minute + 30_002))
    #expect(windows.hasRoom(2, limit: 1, at: start + minute + 30_002))
    #expect(!windows.hasRoom(3, limit: 1, at: start + minute + 30_002))
  }

  @Test("a bounded number of subjects is kept, and expired ones are removed")
  func bounded() {
    let windows = Windows(64)
    for subject in 0..<10_000 {
      #expect(admitted(1, of: subject, windows, at: subject) == 1)
      #expect(windows.count <= 64)
    }
    #expect(windows.count == 64)
    for second in 0..<64 { _ = admitted(1, of: -1, windows, at: 10 * minute + second) }
    #expect(windows.count == 1)
  }

  @Test("a clock that goes back does not exceed the bound and admits no more")
  func clockBack() {
    let windows = Windows(64)
    #expect(admitted(10, windows, at: 60 * minute) == 10)
    // Requests come out of order.
    for step in 0..<1_000 { #expect(admitted(1, windows, at: 60 * minute - step % 2) == 0) }
    #expect(admitted(1, windows, at: 30 * minute) == 0)
    for subject in 0..<1_000 { _ = admitted(1, of: subject, windows, at: 30 * minute + subject) }
    #expect(windows.count <= 64)
  }
}
