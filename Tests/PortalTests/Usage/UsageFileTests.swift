import Foundation
import Testing

@testable import Portal

@Suite("UsageFile")
struct UsageFileTests {
  /// What happened to the second of three files; the others must be read in full.
  private enum Outcome: Equatable {
    case read(UsageExtent.Contents)
    case setAside
    case left
    case removed
  }

  /// Changes the second of three files that a process left behind, and returns how the next process deals with it.
  private func outcome(_ change: (DeadSpool, _ path: String) throws -> Void) async throws -> Outcome {
    try await withFolder { root in
      let dead = try DeadSpool(in: root)
      let path = dead.path(2)
      try change(dead, path)
      let orphan = try dead.adopt()
      for file in orphan.files where file.layout.number != 2 {
        #expect(try file.read() == dead.contents[file.layout.number])
      }
      #expect(orphan.files.map(\.layout.number).filter { $0 != 2 } == [1, 3])
      let others = ["1.counters", "3.counters"]
      if let file = orphan.files.first(where: { $0.layout.number == 2 }) {
        #expect(orphan.setAside.isEmpty && orphan.left.isEmpty)
        return .read(try file.read())
      }
      if orphan.setAside.count == 1 {
        #expect(orphan.setAside[0].hasPrefix(path + " ") && orphan.left.isEmpty)
        #expect(dead.fileNames == ["1.counters", "2.counters.aside", "3.counters"])
        return .setAside
      }
      #expect(orphan.setAside.isEmpty)
      if orphan.left.count == 1 {
        #expect(orphan.left[0].hasPrefix(path + " ") && dead.fileNames == (others + ["2.counters"]).sorted())
        return .left
      }
      #expect(orphan.left.isEmpty && dead.fileNames == others)
      return .removed
    }
  }

  private func isRead(_ outcome: Outcome, of dead: [Int: UsageExtent.Contents]) -> Bool {
    outcome == dead[2].map { Outcome.read($0) }
  }

  // MARK: Regressions: files that crashed every server sharing the folder

  @Test("a file whose header claims 2⁶⁴-1 slots, or that number, is set aside", arguments: [8, 40])
  func onesInTheHead(_ offset: Int) async throws {
    #expect(try await outcome { try overwrite($1, at: offset, Array(repeating: 0xFF, count: 8)) } == .setAside)
  }

  @Test("a file whose regions claim that 2³²-1 slots are taken is read in full", arguments: [0, 4])
  func onesInTheRegions(_ offset: Int) async throws {
    var contents: [Int: UsageExtent.Contents] = [:]
    let outcome = try await outcome { dead, path in
      contents = dead.contents
      for shard in 0..<UsageLayout.shardCount {
        let layout = UsageLayout(sourceID: dead.sourceID, number: 2, slotsPerShard: UsageLayout.slotsPerShardMin)
        try overwrite(path, at: layout.regionOffset(shard) + offset, Array(repeating: 0xFF, count: 4))
      }
    }
    #expect(isRead(outcome, of: contents))
  }

  // MARK: Sizes

  @Test("a truncated file is set aside", arguments: [1, 8, 100, 4_095, 4_096, 4_097, 50_000, 103_423])
  func truncated(_ byteCount: Int) async throws {
    #expect(try await outcome { _ = truncate($1, off_t(byteCount)) } == .setAside)
  }

  @Test("a file that is longer than its header states is set aside", arguments: [103_425, 200_000, 1 << 33])
  func longer(_ byteCount: Int) async throws {
    #expect(try await outcome { _ = truncate($1, off_t(byteCount)) } == .setAside)
  }

  @Test("a file in which nothing was counted is removed: empty, or without a header as after a kill")
  func unfinished() async throws {
    #expect(try await outcome { _ = truncate($1, 0) } == .removed)
    for byteCount in [100, 4_096, 103_424] {
      let outcome = try await outcome { _, path in
        _ = truncate(path, 0)
        _ = truncate(path, off_t(byteCount))
      }
      #expect(outcome == .removed, "\(byteCount)")
    }
    let withoutMagic = try await outcome { _, path in
      _ = truncate(path, 4_096)
      _ = truncate(path, 103_424)
      try overwrite(path, at: 0, Array(repeating: 0, count: 8))
    }
    #expect(withoutMagic == .removed)
  }

  @Test("a file with counters but without a header is set aside")
  func headLost() async throws {
    #expect(try await outcome { try overwrite($1, at: 0, Array(repeating: 0, count: 4_096)) } == .setAside)
    #expect(try await outcome { try overwrite($1, at: 0, Array(repeating: 0, count: 8)) } == .setAside)
  }

  @Test("a file that was truncated, changed or removed after it was found is refused when it is read")
  func changedLater() async throws {
    try await withFolder { root in
      let dead = try DeadSpool(in: root)
      let files = try dead.adopt().files
      #expect(truncate(dead.path(1), 60_000) == 0)
      try overwrite(dead.path(2), at: 16, [1, 2, 3])
      #expect(unlink(dead.path(3)) == 0)
      for file in files {
        let failure = #expect(throws: SpoolFailure.self) { try file.read() }
        #expect(failure?.kind == .damage)
      }
    }
  }

  // MARK: Other files

  @Test("a file of another version is left in place for a process that can read it")
  func otherVersion() async throws {
    #expect(try await outcome { try overwrite($1, at: 6, Array("99".utf8)) } == .left)
  }

  @Test("a file with the name of another file, or in the folder of another process, is set aside")
  func misplaced() async throws {
    let number = try await outcome { dead, path in
      #expect(unlink(path) == 0 && link(dead.path(1), path) == 0)
    }
    #expect(number == .setAside)
    #expect(try await outcome { try overwrite($1, at: 24, [9, 9, 9]) } == .setAside)
  }

  @Test("a folder, a FIFO or a link is set aside without blocking")
  func irregular() async throws {
    let folder = try await outcome { _, path in #expect(unlink(path) == 0 && mkdir(path, 0o700) == 0) }
    #expect(folder == .setAside)
    let fifo = try await outcome { _, path in #expect(unlink(path) == 0 && mkfifo(path, 0o600) == 0) }
    #expect(fifo == .setAside)
    for target in ["1.counters", "nowhere", "/dev/zero"] {
      let link = try await outcome { _, path in #expect(unlink(path) == 0 && symlink(target, path) == 0) }
      #expect(link == .setAside, "\(target)")
    }
  }

  @Test("a file without read permission is set aside", .enabled(if: geteuid() != 0))
  func unreadable() async throws {
    let outcome = try await outcome { _, path in #expect(chmod(path, 0) == 0) }
    #expect(outcome == .setAside)
  }

  @Test("a file whose name is not a number is set aside, and the others are read")
  func names() async throws {
    let names = ["", "x", "-1", "+1", "0", "01", " 4", "4 ", "1.5", "0x4", "9223372036854775808", "١", "\u{301}"]
    try await withFolder { root in
      let dead = try DeadSpool(in: root)
      for name in names { #expect(link(dead.path(1), dead.path(name)) == 0) }
      // A number, but not that of the file.
      #expect(link(dead.path(1), dead.path("9223372036854775807")) == 0)
      let orphan = try dead.adopt()
      #expect(orphan.files.map(\.layout.number) == [1, 2, 3])
      for file in orphan.files { #expect(try file.read() == dead.contents[file.layout.number]) }
      #expect(orphan.setAside.count == names.count + 1)
      #expect(dead.fileNames.count { $0.hasSuffix(".aside") } == names.count + 1)
    }
  }
}
