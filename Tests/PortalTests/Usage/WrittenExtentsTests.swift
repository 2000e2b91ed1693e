import Foundation
import Testing

@testable import Portal

@Suite("WrittenExtents")
struct WrittenExtentsTests {
  private let start = ContinuousClock.now
  private let one = UUID.numbered(1)
  private let other = UUID.numbered(2)
  private var written = WrittenExtents<String>(keptFor: .seconds(60), byteCountMax: 100)

  private mutating func write(_ name: String, _ source: UUID, _ number: Int, bytes: Int = 10, after seconds: Int = 0) {
    written.wrote(name, source, number: number, byteCount: bytes, at: start + .seconds(seconds))
  }

  private mutating func expired(after seconds: Int) -> [String] {
    written.takeExpired(at: start + .seconds(seconds)).map(\.extent)
  }

  @Test("the number that the database must have is the last known one, per source")
  mutating func numbers() {
    #expect(written.number(of: one) == 0)
    let first = written.answered(nil, one, number: 4)
    #expect(first == .counted)
    #expect(written.number(of: one) == 4 && written.number(of: other) == 0)
    let second = written.answered(7, one, number: 5)
    #expect(second == .counted, "the number was added before")
    #expect(written.number(of: one) == 7)
  }

  @Test("a database with a lower number has fallen back, and that number applies from then on")
  mutating func fellBack() {
    _ = written.answered(nil, one, number: 4)
    let answer = written.answered(2, one, number: 5)
    #expect(answer == .fellBack(to: 2))
    #expect(written.number(of: one) == 2)
    _ = written.answered(nil, one, number: 5)
    let looks = [5, 9, 3].map { written.look($0, one) }
    #expect(looks == [true, true, false])
    #expect(written.number(of: one) == 3)
  }

  @Test("kept extents above the number of the source are written again, in the order of their numbers")
  mutating func again() {
    write("c", one, 3)
    write("x", other, 9)
    write("a", one, 1)
    write("b", one, 2)
    #expect(written.kept(of: one, after: 1).map(\.extent) == ["b", "c"])
    #expect(Set(written.sourceIDs) == [one, other])
  }

  @Test("extents are kept for the retention period, which restarts when they are written again")
  mutating func time() {
    write("a", one, 1)
    write("b", one, 2, after: 10)
    let early = expired(after: 59)
    written.wroteAgain(one, number: 1, at: start + .seconds(50))
    let later = [expired(after: 70), expired(after: 110)]
    #expect(early == [] && later == [["b"], ["a"]])
    #expect(written.sourceIDs.isEmpty)
  }

  @Test("the kept extents fit the size limit, and the oldest are removed first")
  mutating func room() {
    write("a", one, 1, bytes: 60)
    write("b", one, 2, bytes: 50)
    write("c", one, 3, bytes: 50)
    let gone = [expired(after: 0), expired(after: 0)]
    #expect(gone == [["a"], []])
  }

  @Test("the number of a source is forgotten with its last kept extent")
  mutating func forgotten() {
    _ = written.answered(nil, one, number: 4)
    write("a", one, 4)
    _ = written.answered(nil, other, number: 9)
    write("b", other, 9, after: 30)
    let gone = expired(after: 60)
    #expect(gone == ["a"] && written.number(of: one) == 0 && written.number(of: other) == 9)
  }

  @Test("a retention period of zero keeps nothing")
  mutating func none() {
    written = WrittenExtents(keptFor: .zero, byteCountMax: 100)
    write("a", one, 1)
    let gone = expired(after: 0)
    #expect(gone == ["a"])
  }
}
