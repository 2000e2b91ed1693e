import Foundation
import Testing

@testable import Portal

@Suite("UsageFile")
struct UsageFileTests {
  /// What has become of the second of three files, beside which the others are read in full.
  private enum Outcome: Equatable {
    case read(UsageExtent.Contents)
    case setAside
    case left
    case removed
  }

  /// Does something to the second of three files that a process left, and looks what the next one makes of it.
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

  // MARK: What once ended every server that shared the folder

  @Test("a file that says 2⁶⁴-1 of its slots, or of its number, is set aside", arguments: [8, 40])
  func onesInTheHead(_ offset: Int) async throws {
    #expect(try await outcome { try overwrite($1, at: offset, Array(repeating: 0xFF, count: 8)) } == .setAside)
  }

  @Test("a file whose regions say that 2³²-1 slots are taken is read in full", arguments: [0, 4])
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

  @Test("a file that was cut short is set aside", arguments: [1, 8, 100, 4_095, 4_096, 4_097, 50_000, 103_423])
  func truncated(_ byteCount: Int) async throws {
    #expect(try await outcome { _ = truncate($1, off_t(byteCount)) } == .setAside)
  }

  @Test("a file that is longer than it says is set aside", arguments: [103_425, 200_000, 1 << 33])
  func longer(_ byteCount: Int) async throws {
    #expect(try await outcome { _ = truncate($1, off_t(byteCount)) } == .setAside)
  }

  @Test("a file in which nothing was counted is removed: empty, or without a head, as a kill leaves it")
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

  @Test("a file that lost its head, but not its counters, is set aside")
  func headLost() async throws {
    #expect(try await outcome { try overwrite($1, at: 0, Array(repeating: 0, count: 4_096)) } == .setAside)
    #expect(try await outcome { try overwrite($1, at: 0, Array(repeating: 0, count: 8)) } == .setAside)
  }

  @Test("a file that is cut short, changed or gone after it was found is refused when it is read")
  func changedLater() async throws {
    try await withFolder { root in
      let dead = try DeadSpool(in: root)
      let files = try dead.adopt().files
      #expect(truncate(dead.path(1), 60_000) == 0)
      try overwrite(dead.path(2), at: 16, [1, 2, 3])
      #expect(unlink(dead.path(3)) == 0)
      for file in files {
        let failure = #expect(throws: UsageExtent.Failure.self) { try file.read() }
        #expect(failure?.kind == .damage)
      }
    }
  }

  // MARK: What is no such file

  @Test("a file of another version is left where it is, for whoever can read it")
  func otherVersion() async throws {
    #expect(try await outcome { try overwrite($1, at: 6, Array("02".utf8)) } == .left)
  }

  @Test("a file under the name, or in the folder, of another is set aside")
  func misplaced() async throws {
    let number = try await outcome { dead, path in
      #expect(unlink(path) == 0 && link(dead.path(1), path) == 0)
    }
    #expect(number == .setAside)
    #expect(try await outcome { try overwrite($1, at: 24, [9, 9, 9]) } == .setAside)
  }

  @Test("what is no regular file is set aside without waiting: a folder, a FIFO, a link")
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

  @Test("a file that may not be read is set aside", .enabled(if: geteuid() != 0))
  func unreadable() async throws {
    let outcome = try await outcome { _, path in #expect(chmod(path, 0) == 0) }
    #expect(outcome == .setAside)
  }

  @Test("a file without a number for a name is set aside, and keeps no other from being read")
  func names() async throws {
    let names = ["", "x", "-1", "+1", "0", "01", " 4", "4 ", "1.5", "0x4", "9223372036854775808", "١", "\u{301}"]
    try await withFolder { root in
      let dead = try DeadSpool(in: root)
      for name in names { #expect(link(dead.path(1), dead.path(name)) == 0) }
      // A number, but not its own.
      #expect(link(dead.path(1), dead.path("9223372036854775807")) == 0)
      let orphan = try dead.adopt()
      #expect(orphan.files.map(\.layout.number) == [1, 2, 3])
      for file in orphan.files { #expect(try file.read() == dead.contents[file.layout.number]) }
      #expect(orphan.setAside.count == names.count + 1)
      #expect(dead.fileNames.count { $0.hasSuffix(".aside") } == names.count + 1)
    }
  }
}
