import Foundation
import Postgres
import PostgresTesting
import Testing

/// What this process holds. Measured in processes of the tests' own, where no other test adds to it.
private struct Footprint {
  let residentBytes: Int
  /// What each is open on, but for the timers of the system: it makes one a clock, for the first sleep that is by that
  /// clock, whenever that is.
  let descriptors: [String]

  var descriptorCount: Int { descriptors.count }

  init() throws {
    let statm = try String(contentsOfFile: "/proc/self/statm", encoding: .utf8).split(separator: " ")
    residentBytes = (Int(statm[1]) ?? 0) * 4_096
    descriptors = try FileManager.default.contentsOfDirectory(atPath: "/proc/self/fd").map {
      (try? FileManager.default.destinationOfSymbolicLink(atPath: "/proc/self/fd/" + $0)) ?? "closed"
    }.filter { $0 != "anon_inode:[timerfd]" }
  }
}

/// An error that leaves such a process ends it by a signal, and is never heard of; of one that is recorded as such only
/// that there was one.
private func recordingErrors(_ body: () async throws -> Void) async {
  do { try await body() } catch { Issue.record("\(String(reflecting: error))") }
}

@Suite("Endurance")
struct EnduranceTests {
  @Test("ten thousand queries in turn and a thousand at once leave memory, descriptors and connections as they were")
  func queries() async throws {
    await #expect(processExitsWith: .success) {
      await recordingErrors {
        let observer = PostgresPool(testConfiguration(try serverURL()))
        let name = "endurance-\(UUID())"
        let configuration = testConfiguration(try serverURL()) { $0.applicationName = name }
        let pool = PostgresPool(configuration)

        @Sendable func load() async throws {
          for number in 0..<10_000 { #expect(try await pool.query(Echo(value: number)) == [number]) }
          try await withThrowingTaskGroup(of: (Int, [Int?]).self) { group in
            for number in 0..<1_000 { group.addTask { (number, try await pool.query(Echo(value: number))) } }
            for try await (number, rows) in group { #expect(rows == [number]) }
          }
        }

        // However slowly a busy machine starts them: a connection that is made later is no leak.
        try await eventually("all connections were open") {
          try await withThrowingTaskGroup { group in
            for _ in 0..<10 { group.addTask { _ = try await pool.query(Sleep(seconds: 0.2)) } }
            try await group.waitForAll()
          }
          return pool.gauges == (open: 10, leased: 0, waiting: 0)
        }
        try await load()
        let descriptors = try Footprint().descriptors.sorted()
        // What leaks does so in every round; what the allocator keeps for later, in the first ones.
        var growths: [Int] = []
        for _ in 0..<5 {
          let before = try Footprint().residentBytes
          try await load()
          growths.append(try Footprint().residentBytes - before)
        }
        // An exit test hands on no values but those of comments.
        #expect(growths.contains { $0 < 256 << 10 }, "bytes by round: \(growths)")
        let now = try Footprint().descriptors.sorted()
        #expect(now.count == descriptors.count, "before: \(descriptors), now: \(now)")
        let gauges = pool.gauges
        #expect(gauges == (open: 10, leased: 0, waiting: 0), "\(gauges)")
        #expect(try await observer.query(CountBackends(applicationName: name)) == [10])
        await pool.shutDown()
        try await eventually("the server's ends were closed") {
          try await observer.query(CountBackends(applicationName: name)) == [0]
        }
      }
    }
  }

  @Test("pools that come and go, with and without a shutdown, leave no descriptor, thread or connection behind")
  func pools() async throws {
    await #expect(processExitsWith: .success) {
      await recordingErrors {
        let observer = PostgresPool(testConfiguration(try serverURL()))
        let name = "pools-\(UUID())"
        let configuration = testConfiguration(try serverURL()) { $0.applicationName = name }
        #expect(try await observer.query(CountBackends(applicationName: name)) == [0])
        let before = try Footprint()
        for number in 0..<50 {
          let pool = PostgresPool(configuration)
          _ = try await pool.query(One())
          if number.isMultiple(of: 2) { await pool.shutDown() }
        }
        do {
          try await eventually("everything was closed") { try Footprint().descriptorCount <= before.descriptorCount }
        } catch {
          Issue.record("\(error); before: \(before.descriptors.sorted()), now: \(try Footprint().descriptors.sorted())")
        }
        try await eventually("the server's ends were closed") {
          try await observer.query(CountBackends(applicationName: name)) == [0]
        }
      }
    }
  }
}
