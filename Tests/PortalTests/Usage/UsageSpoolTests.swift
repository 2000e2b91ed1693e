import Foundation
import Testing

@testable import Portal

/// Runs `body` with a folder path, and removes the folder afterwards.
func withFolder<Value>(_ body: (String) async throws -> Value) async throws -> Value {
  let folder = "/tmp/latchkey-spool-\(UUID().text.prefix(13))"
  defer { try? FileManager.default.removeItem(atPath: folder) }
  return try await body(folder)
}

extension UsageRecorder {
  func countOne(_ key: Int, _ endpoint: String = "/") {
    verified(.counted(key), endpoint, isValid: true, at: Date(timeIntervalSince1970: 1_800_000_000))
  }
}

/// The files below a folder, except locks.
private func files(_ folder: String) -> [String] {
  (FileManager.default.enumerator(atPath: folder)?.compactMap { $0 as? String } ?? [])
    .filter { $0.contains("/") && !$0.hasSuffix("/lock") }.sorted()
}

private func verified(_ orphans: [UsageSpool.Orphan]) throws -> Int {
  try orphans.flatMap(\.files).flatMap { try $0.read().counters }.reduce(0) { $0 + $1.verified }
}

@Suite("UsageSpool")
struct UsageSpoolTests {
  @Test("counters of a dead process are adopted by the next one, and those of a live process by none")
  func adoption() async throws {
    try await withFolder { folder in
      var dead: UsageRecorder? = UsageRecorder(spoolFolder: folder)
      for number in 0..<30 { dead?.countOne(number % 3) }
      let next = UsageRecorder(spoolFolder: folder)
      let spool = try #require(next.spool)
      #expect(spool.adopt().isEmpty)
      // Releases its memory and its lock, as at the end of a process.
      dead = nil
      let orphans = spool.adopt()
      #expect(orphans.count == 1)
      #expect(try verified(orphans) == 30)
      #expect(spool.adopt().isEmpty, "a spool is adopted once")
      for orphan in orphans {
        for file in orphan.files { file.remove() }
        orphan.close()
      }
      #expect(files(folder).count == 1, "the file of the new process")
      next.close()
      #expect(try FileManager.default.contentsOfDirectory(atPath: folder) == [])
    }
  }

  @Test("of twenty processes that look concurrently, one adopts")
  func contention() async throws {
    try await withFolder { folder in
      for _ in 0..<20 {
        UsageRecorder(spoolFolder: folder).countOne(1)
        let spools = try (0..<20).map { _ in try UsageSpool(root: folder) }
        let outcomes = await concurrently(20) { index in spools[index].adopt() }
        #expect(outcomes.values.map(\.count).sorted() == Array(repeating: 0, count: 19) + [1])
        for orphan in outcomes.values.flatMap(\.self) {
          for file in orphan.files { file.remove() }
          orphan.close()
        }
        for spool in spools { spool.close() }
        #expect(try FileManager.default.contentsOfDirectory(atPath: folder) == [])
      }
    }
  }

  @Test("copies of spool files and other files are set aside and not counted")
  func copies() async throws {
    try await withFolder { folder in
      let (original, copy) = (folder + "/original", folder + "/copy")
      let recorder = UsageRecorder(spoolFolder: original)
      recorder.countOne(1)
      try FileManager.default.copyItem(atPath: original, toPath: copy)
      let source = try #require(recorder.spool).sourceID.text
      try Data(repeating: 7, count: 10_000).write(to: URL(filePath: "\(copy)/\(source)/99.counters"))
      try Data(count: 10_000).write(to: URL(filePath: "\(copy)/\(source)/98.counters"))
      try Data().write(to: URL(filePath: "\(copy)/\(source)/97.counters"))
      let orphans = try UsageSpool(root: copy).adopt()
      #expect(orphans.count == 1 && orphans[0].files.isEmpty)
      #expect(orphans[0].setAside.count == 2)
      #expect(orphans[0].setAside.contains { $0.hasSuffix("1.counters is a copy") })
      #expect(orphans[0].setAside.contains { $0.hasSuffix("99.counters is not a counter file") })
      #expect(
        files(copy).filter { $0.contains(source) } == ["\(source)/1.counters.aside", "\(source)/99.counters.aside"])
      #expect(recorder.seal().flatMap { $0.read().counters }.count == 1, "the original is still counted in")
    }
  }

  @Test("entries that are not folders of processes, or whose lock cannot be opened, are skipped")
  func otherFolders() async throws {
    try await withFolder { folder in
      let spool = try UsageSpool(root: folder)
      let names = (0..<5).map { _ in UUID.version7().text }
      try Data().write(to: URL(filePath: "\(folder)/\(names[0])"))
      #expect(symlink("/tmp", "\(folder)/\(names[1])") == 0)
      #expect(mkfifo("\(folder)/\(names[2])", 0o600) == 0)
      #expect(mkdir("\(folder)/\(names[3])", 0o700) == 0 && mkdir("\(folder)/\(names[3])/lock", 0o700) == 0)
      #expect(mkdir("\(folder)/\(names[4])", 0o700) == 0)
      #expect(symlink("/tmp/nowhere", "\(folder)/\(names[4])/lock") == 0)
      // The spool's own name, in capitals.
      #expect(mkdir("\(folder)/\(spool.sourceID.uuidString)", 0o700) == 0)
      #expect(spool.adopt().isEmpty)
    }
  }

  @Test("a bounded number of spools is adopted at a time, and the others later")
  func bounded() async throws {
    try await withFolder { folder in
      for _ in 0..<5 { UsageRecorder(spoolFolder: folder).countOne(1) }
      let spool = try UsageSpool(root: folder)
      let first = spool.adopt(atMost: 2)
      let rest = spool.adopt(atMost: 10)
      #expect(first.count == 2 && rest.count == 3 && spool.adopt(atMost: 0).isEmpty)
      #expect(try verified(first) == 2)
      #expect(try verified(rest) == 3)
    }
  }

  @Test("without a usable folder the recorder counts in memory, reports it, and returns to files when it can")
  func unusable() async throws {
    try await withFolder { folder in
      // There is a file in place of the folder.
      try Data().write(to: URL(filePath: folder))
      let recorder = UsageRecorder(spoolFolder: folder)
      recorder.countOne(1)
      #expect(recorder.holdings.failure != nil && recorder.holdings.fileByteCount == 0)
      #expect(recorder.seal().flatMap { $0.read().counters }.map(\.verified) == [1])
      try FileManager.default.removeItem(atPath: folder)
      recorder.countOne(1)
      #expect(recorder.seal().count == 1)
      #expect(recorder.holdings.failure == nil && recorder.holdings.fileByteCount > 0)
      // The other way round.
      try FileManager.default.removeItem(atPath: folder)
      recorder.countOne(1)
      #expect(recorder.seal().count == 1)
      #expect(recorder.holdings.failure?.contains("cannot be created") == true)
      recorder.countOne(2)
      #expect(recorder.seal().flatMap { $0.read().counters }.map(\.verified) == [1])
      #expect(UsageRecorder().holdings.failure == nil, "without a configured folder there is no failure")
    }
  }

  @Test("without disk space, counting continues without a crash")
  func noRoom() async {
    await #expect(processExitsWith: .success) {
      try await withFolder { folder in
        signal(SIGXFSZ, SIG_IGN)
        // The maximum file size in bytes: less than the smallest extent.
        var limit = rlimit(rlim_cur: 50_000, rlim_max: 50_000)
        setrlimit(__rlimit_resource_t(1), &limit)
        let recorder = UsageRecorder(spoolFolder: folder)
        for number in 0..<1_000 { recorder.countOne(number) }
        #expect(recorder.holdings.failure?.contains("no room") == true)
        #expect(recorder.seal().flatMap { $0.read().counters }.count == 1_000)
      }
    }
  }
}
