import NIOCore
import Testing

@testable import PortalHTTP

@Suite("ConnectionDeadlines")
struct ConnectionDeadlinesTests {
  private static let start = NIODeadline.uptimeNanoseconds(1_000_000_000_000)

  private func at(_ seconds: Int64) -> NIODeadline { Self.start + .seconds(seconds) }
  private func standing(_ seconds: Int64) -> ConnectionDeadlines.Standing { .init(now: at(seconds)) }

  private func makeDeadlines() -> ConnectionDeadlines {
    ConnectionDeadlines(ConnectionTimeouts(), openedAt: Self.start)
  }

  @Test("an idle client has 75 seconds from the last request, whatever else was read")
  func idle() {
    var deadlines = makeDeadlines()
    var now = standing(74)
    now.readCount = 1_000
    #expect(deadlines.check(now) == .check(at: at(75)))
    deadlines.activeAt = at(20)
    #expect(deadlines.check(standing(75)) == .check(at: at(95)))
    #expect(deadlines.check(standing(95)) == .close)
  }

  @Test("a connection being answered is not idle")
  func answering() {
    var deadlines = makeDeadlines()
    var now = standing(500)
    now.isAnswering = true
    #expect(deadlines.check(now) == .check(at: at(575)))
  }

  @Test("a head has ten seconds from its first byte, even if the connection has long been idle")
  func head() {
    var deadlines = makeDeadlines()
    #expect(deadlines.beginHead(at: at(70)) == at(80))
    #expect(deadlines.beginHead(at: at(79)) == nil)
    #expect(deadlines.check(standing(76)) == .check(at: at(80)))
    #expect(deadlines.check(standing(80)) == .close)
    deadlines.input = .none
    deadlines.activeAt = at(80)
    #expect(deadlines.beginHead(at: at(81)) == at(91))
  }

  @Test("a body has thirty seconds, and one more for each 4 KiB of it")
  func body() {
    var deadlines = makeDeadlines()
    _ = deadlines.beginHead(at: at(0))
    #expect(deadlines.beginBody(at: at(5), readCount: 100) == at(35))
    #expect(deadlines.beginBody(at: at(6), readCount: 200) == nil)
    var now = standing(35)
    now.readCount = 100 + 8 * 4_096
    #expect(deadlines.check(now) == .check(at: at(43)))
    now.now = at(43)
    #expect(deadlines.check(now) == .close)
  }

  @Test("while the server does not read, no client is too slow to send")
  func notReading() {
    var deadlines = makeDeadlines()
    _ = deadlines.beginBody(at: at(0), readCount: 0)
    var now = standing(60)
    now.isReading = false
    now.isAnswering = true
    #expect(deadlines.check(now) == .check(at: at(135)))
    #expect(deadlines.check(standing(89)) == .check(at: at(90)))
    #expect(deadlines.check(standing(90)) == .close)
  }

  @Test("a client that takes none of its answers for a minute is closed, and one that takes a byte has another minute")
  func output() {
    var deadlines = makeDeadlines()
    func taking(_ sentCount: Int, _ seconds: Int64) -> ConnectionDeadlines.Standing {
      var now = standing(seconds)
      now.sentCount = sentCount
      now.bufferedCount = 5
      now.isAnswering = true
      return now
    }
    let deadline = deadlines.noteOutput(taking(0, 0))
    #expect(deadline == at(60))
    #expect(deadlines.check(taking(0, 45)) == .check(at: at(60)))
    #expect(deadlines.check(taking(1, 59)) == .check(at: at(74)))
    #expect(deadlines.check(taking(1, 118)) == .check(at: at(119)))
    #expect(deadlines.check(taking(1, 119)) == .close)
    let none = deadlines.noteOutput(standing(119))
    #expect(none == nil)
    #expect(deadlines.check(taking(1, 130)) == .check(at: at(145)))
  }

  @Test("during shutdown, everything under way has ten seconds")
  func shutdown() {
    var deadlines = makeDeadlines()
    #expect(!deadlines.isShuttingDown)
    #expect(deadlines.shutDown(at: at(1)) == at(11))
    #expect(deadlines.shutDown(at: at(9)) == at(11))
    #expect(deadlines.isShuttingDown)
    var now = standing(10)
    now.isAnswering = true
    #expect(deadlines.check(now) == .check(at: at(11)))
    now.now = at(11)
    #expect(deadlines.check(now) == .close)
  }
}
