import Testing

@testable import Portal

@Suite("HashingBacklog")
struct HashingBacklogTests {
  @Test("work is begun once, in the order in which it was added")
  func order() {
    let threads = Threads()
    threads.add("a")
    threads.add("b")
    #expect(threads.begin() == "a")
    #expect(threads.begin() == "b")
    #expect(threads.begin() == nil)
  }

  @Test("adding work reports whether the backlog was empty, with nothing waiting or being done")
  func first() {
    let threads = Threads()
    #expect(threads.add("a"))
    #expect(!threads.add("b"))
    threads.begin()
    threads.begin()
    #expect(!threads.add("c"))
    threads.begin()
    for work in ["a", "b", "c"] { threads.finish(work, at: 1) }
    #expect(threads.add("d", at: 2))
  }

  @Test("the helper has nothing to do while the backlog is empty, or while work is finished within the patience")
  func noHelp() {
    let threads = Threads()
    #expect(threads.help(at: 100) == "rest")
    threads.add("a", at: 100)
    threads.add("b", at: 100)
    #expect(threads.help(at: 104) == "wait until 105")
    threads.begin()
    threads.finish("a", at: 104)
    #expect(threads.help(at: 108) == "wait until 109")
    threads.begin()
    threads.finish("b", at: 108)
    #expect(threads.help(at: 200) == "rest")
  }

  @Test(
    "after the patience the helper does begun work, then waiting work, until a thread finishes something")
  func help() {
    let threads = Threads()
    for work in ["a", "b", "c", "d"] { threads.add(work) }
    threads.begin()
    #expect(threads.help(at: 5) == "a")
    #expect(threads.help(at: 6) == "b")
    threads.finish("a", at: 7)
    #expect(threads.help(at: 8) == "wait until 12")
    #expect(threads.begin() == "c")
    #expect(threads.help(at: 12) == "c")
    #expect(threads.help(at: 12) == "d")
    #expect(threads.help(at: 12) == "rest")
  }
}

/// A backlog with a patience of five seconds, at times in seconds.
private final class Threads {
  private let start = ContinuousClock.now
  private var backlog = HashingBacklog<String>(patience: .seconds(5))
  private var begun: [String: HashingBacklog<String>.Begun] = [:]

  @discardableResult func add(_ work: String, at seconds: Int = 0) -> Bool {
    backlog.add(work, at: start + .seconds(seconds))
  }

  @discardableResult func begin() -> String? {
    guard let next = backlog.begin() else { return nil }
    begun[next.work] = next
    return next.work
  }

  func finish(_ work: String, at seconds: Int) {
    guard let done = begun.removeValue(forKey: work) else {
      Issue.record("\(work) was not begun")
      return
    }
    backlog.finish(done, at: start + .seconds(seconds))
  }

  func help(at seconds: Int) -> String {
    switch backlog.help(at: start + .seconds(seconds)) {
    case .rest: "rest"
    case .wait(let until): "wait until \(Int((until - start) / .seconds(1)))"
    case .work(let work): work
    }
  }
}
