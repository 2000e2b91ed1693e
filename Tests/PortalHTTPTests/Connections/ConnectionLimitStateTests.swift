import PostgresTesting
import Testing

@testable import PortalHTTP

@Suite("ConnectionLimitState")
struct ConnectionLimitStateTests {
  /// Here, connections are names. They are idle from the moment they arrive, unless noted otherwise.
  private final class Connections {
    static let second: UInt64 = 1_000_000_000

    private(set) var state: ConnectionLimitState<String>
    private(set) var activities: [String: ConnectionActivity] = [:]
    private var numbers: [String: UInt64] = [:]

    init(_ countMax: Int) { state = ConnectionLimitState(countMax: countMax) }

    /// Returns the names of the closed connections.
    @discardableResult
    func admit(_ name: String, atSecond second: UInt64) -> [String] { admission(name, at: second * Self.second).closed }

    func admission(_ name: String, at now: UInt64) -> ConnectionLimitState<String>.Admission {
      activities[name] = ConnectionActivity(since: now, isAnswering: false)
      let known = activities
      let admission = state.admit(name, at: now) { known[$0] ?? ConnectionActivity(since: 0, isAnswering: false) }
      numbers[name] = admission.number
      return admission
    }

    func note(_ name: String, isAnswering: Bool, atSecond second: UInt64) {
      activities[name] = ConnectionActivity(since: second * Self.second, isAnswering: isAnswering)
    }

    func leave(_ name: String) {
      if let number = numbers[name] { state.leave(number) }
    }
  }

  @Test("up to the limit no connection is closed; beyond it, the most idle one is, and no longer counts")
  func bound() {
    let connections = Connections(3)
    for (second, name) in ["a", "b", "c"].enumerated() {
      #expect(connections.admit(name, atSecond: UInt64(second)).isEmpty)
    }
    connections.note("a", isAnswering: false, atSecond: 10)
    #expect(connections.admit("d", atSecond: 11) == ["b"])
    #expect(connections.state.count == 3)
    #expect(connections.admit("e", atSecond: 12) == ["c"])
    #expect(connections.admit("f", atSecond: 13) == ["a"])
  }

  @Test("a sixteenth is closed at a time, so that the next connections cost nothing")
  func share() {
    let connections = Connections(64)
    for number in 0..<64 { connections.admit("\(number)", atSecond: UInt64(number)) }
    #expect(connections.admit("64", atSecond: 64) == ["0", "1", "2", "3"])
    for number in 65..<68 { #expect(connections.admit("\(number)", atSecond: UInt64(number)).isEmpty) }
    #expect(connections.state.count == 64)
    #expect(connections.admit("68", atSecond: 68) == ["4", "5", "6", "7"])
  }

  @Test("a connection being answered stays open, however long that takes; if all are, the new one is closed")
  func answering() {
    let connections = Connections(2)
    connections.admit("a", atSecond: 0)
    connections.admit("b", atSecond: 1)
    connections.note("a", isAnswering: true, atSecond: 2)
    #expect(connections.admit("c", atSecond: 100) == ["b"])
    connections.note("c", isAnswering: true, atSecond: 101)
    #expect(connections.admit("d", atSecond: 102) == ["d"])
    #expect(connections.state.count == 2)
    connections.note("a", isAnswering: false, atSecond: 103)
    #expect(connections.admit("e", atSecond: 104) == ["a"])
  }

  @Test("a connection that leaves makes room once, also if it was closed or never admitted")
  func leaving() {
    let connections = Connections(2)
    connections.admit("a", atSecond: 0)
    connections.admit("b", atSecond: 1)
    connections.leave("b")
    connections.leave("b")
    #expect(connections.state.count == 1)
    #expect(connections.admit("c", atSecond: 2).isEmpty)
    #expect(connections.admit("d", atSecond: 3) == ["a"])
    connections.leave("a")
    for name in ["c", "d"] { connections.note(name, isAnswering: true, atSecond: 4) }
    #expect(connections.admit("e", atSecond: 5) == ["e"])
    connections.leave("e")
    #expect(connections.state.count == 2)
  }

  @Test("the most idle connections are those with the oldest answer, then those that arrived first")
  func mostIdle() {
    func activity(_ number: UInt64, _ since: UInt64, isAnswering: Bool = false) -> (UInt64, ConnectionActivity) {
      (number, ConnectionActivity(since: since, isAnswering: isAnswering))
    }
    let activities = [
      activity(1, 50), activity(2, 20), activity(3, 10, isAnswering: true), activity(5, 20), activity(4, 20),
    ].map { (number: $0.0, activity: $0.1) }
    #expect(ConnectionLimitState<String>.mostIdle(2, of: activities) == [2, 4])
    #expect(ConnectionLimitState<String>.mostIdle(9, of: activities) == [2, 4, 5, 1])
    #expect(ConnectionLimitState<String>.mostIdle(1, of: []) == [])
  }

  @Test("a flood logs one line in ten seconds, and small differences between threads' clocks do no harm")
  func logging() {
    let connections = Connections(1)
    let start = 100 * Connections.second
    func isLogged(_ now: UInt64) -> Bool { connections.admission("\(now)", at: now).isLogged }
    #expect(!isLogged(start))
    #expect(isLogged(start + 1))
    #expect(!isLogged(start))
    #expect(!isLogged(start + 10 * Connections.second))
    #expect(isLogged(start + 10 * Connections.second + 1))
  }

  @Test("there are never more connections than the limit, and none is closed while it is being answered")
  func model() {
    var generator = SeededGenerator(seed: 1)
    for countMax in [1, 2, 15, 16, 40] {
      let connections = Connections(countMax)
      var open: Set<String> = []
      for step in 0..<2_000 {
        let second = UInt64(step)
        let answering = Set(open.filter { connections.activities[$0]?.isAnswering == true })
        switch Int.random(in: 0..<4, using: &generator) {
        case 0, 1:
          let name = "\(step)"
          let closed = connections.admit(name, atSecond: second)
          #expect(answering.isDisjoint(with: closed))
          #expect(closed.contains(name) == (answering.count == countMax))
          open.insert(name)
          open.subtract(closed)
        case 2:
          guard let name = open.sorted().randomElement(using: &generator) else { continue }
          connections.note(name, isAnswering: .random(using: &generator), atSecond: second)
        default:
          guard let name = open.sorted().randomElement(using: &generator) else { continue }
          connections.leave(name)
          open.remove(name)
        }
        #expect(connections.state.count == open.count && open.count <= countMax)
      }
    }
  }
}
