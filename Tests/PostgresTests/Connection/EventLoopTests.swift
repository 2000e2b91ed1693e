import Foundation
import PostgresTesting
import Synchronization
import Testing

@testable import Postgres

@Suite("EventLoop")
struct EventLoopTests {
  private let loop = EventLoop(name: "test")

  private func onLoop<Value: Sendable>(_ body: @escaping @Sendable (EventLoop) -> Value) async -> Value {
    await withCheckedContinuation { continuation in
      loop.execute { [loop] in continuation.resume(returning: body(loop)) }
    }
  }

  @Test("work runs on the loop's thread")
  func thread() async {
    #expect(!loop.isOnLoop)
    #expect(await onLoop { $0.isOnLoop })
  }

  @Test("work of one thread runs in its order, that of many threads all runs")
  func manyThreads() async {
    let seen = Recorder<[Int]>()
    await withTaskGroup { group in
      for thread in 0..<8 {
        group.addTask {
          await withCheckedContinuation { continuation in
            Thread.detachNewThread {
              for number in 0..<2_000 { loop.execute { seen.append([thread, number]) } }
              loop.execute { continuation.resume() }
            }
          }
        }
      }
    }
    let elements = seen.elements
    #expect(elements.count == 16_000)
    for thread in 0..<8 {
      #expect(elements.filter { $0[0] == thread }.map { $0[1] } == Array(0..<2_000))
    }
  }

  @Test("timers fire in the order of their deadlines, none of them early")
  func timers() async {
    let seen = Recorder<Int>()
    let start = ContinuousClock.now
    await withCheckedContinuation { continuation in
      loop.execute { [loop] in
        for delay in [30, 5, 20, 10] {
          loop.schedule(at: start + .milliseconds(delay)) {
            if ContinuousClock.now >= start + .milliseconds(delay) { seen.append(delay) }
          }
        }
        loop.schedule(at: start + .milliseconds(31)) { continuation.resume() }
      }
    }
    #expect(seen.elements == [5, 10, 20, 30])
  }

  @Test("a timer may set another, for a time that has passed already, too")
  func chainedTimers() async {
    await withCheckedContinuation { continuation in
      loop.execute { [loop] in
        loop.schedule(at: .now - .seconds(1)) { loop.schedule(at: .now) { continuation.resume() } }
      }
    }
  }

  @Test("a descriptor's handler hears of bytes, and no longer once it is unregistered")
  func readiness() async throws {
    let pipe = Pipe()
    let descriptor = pipe.fileHandleForReading.fileDescriptor
    let seen = Counter()
    _ = await onLoop { [loop] _ in
      loop.register(descriptor) { readiness in
        var byte: UInt8 = 0
        if readiness.contains(.readable), read(descriptor, &byte, 1) == 1 { seen.increment() }
      }
    }
    try pipe.fileHandleForWriting.write(contentsOf: [1, 2, 3])
    try await eventually("three bytes were read") { seen.count == 3 }
    _ = await onLoop { $0.unregister(descriptor) }
    try pipe.fileHandleForWriting.write(contentsOf: [4])
    _ = await onLoop { _ in }
    #expect(seen.count == 3)
  }

  @Test("writability is told while there is interest in it")
  func writability() async throws {
    var descriptors: [Int32] = [0, 0]
    #expect(socketpair(AF_UNIX, Int32(SOCK_STREAM.rawValue), 0, &descriptors) == 0)
    let mine = descriptors[0]
    let seen = Counter()
    _ = await onLoop { [loop] _ in
      loop.register(mine) { readiness in
        guard readiness.contains(.writable) else { return }
        seen.increment()
        loop.setWriteInterest(false, of: mine)
      }
      loop.setWriteInterest(true, of: mine)
    }
    try await eventually("the socket was writable") { seen.count > 0 }
    _ = await onLoop { $0.unregister(mine) }
    #expect(seen.count == 1)
    for descriptor in descriptors { close(descriptor) }
  }

  @Test("the thread ends, and its descriptors are closed, when nobody holds the loop any more")
  func lifetime() async throws {
    func threadExists(_ name: String) throws -> Bool {
      try FileManager.default.contentsOfDirectory(atPath: "/proc/self/task").contains { task in
        (try? String(contentsOfFile: "/proc/self/task/\(task)/comm", encoding: .utf8)) == name + "\n"
      }
    }
    weak var weakLoop: EventLoop?
    do {
      let mortal = EventLoop(name: "mortal")
      weakLoop = mortal
      try await eventually("the thread ran") { try threadExists("mortal") }
      withExtendedLifetime(mortal) {}
    }
    #expect(weakLoop == nil)
    try await eventually("the thread ended") { try !threadExists("mortal") }
  }

  @Test("an actor on the loop runs there, whoever calls")
  func executor() async {
    actor Pinned {
      let loop: EventLoop
      var count = 0
      init(_ loop: EventLoop) { self.loop = loop }
      nonisolated var unownedExecutor: UnownedSerialExecutor { loop.asUnownedSerialExecutor() }
      func increment() -> Bool {
        count += 1
        return loop.isOnLoop
      }
    }
    let actor = Pinned(loop)
    await withTaskGroup(of: Bool.self) { group in
      for _ in 0..<1_000 { group.addTask { await actor.increment() } }
      for await isOnLoop in group { #expect(isOnLoop) }
    }
    #expect(await actor.count == 1_000)
  }
}
