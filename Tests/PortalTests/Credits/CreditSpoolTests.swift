import Foundation
import Testing

@testable import Portal

/// A process with one credits file, which has spent of two buckets.
private struct Spender {
  let holder = UUID.version7()
  let spool: CreditSpool
  let extent: CreditExtent

  init(in folder: String) throws {
    spool = try CreditSpool(spool: folder, holder: holder)
    extent = try spool.makeExtent(1, slotsPerShard: SpoolHead.slotsPerShardMin)
    extent.slots(0).fill(0, Self.spendings[0])
    extent.slots(1).fill(0, Self.spendings[1])
  }

  static let spendings = (1...2).map {
    CreditSlots.Spending(bucket: .numbered($0), generation: $0, spent: 10 * $0)
  }

  /// The holder of a process that has died.
  static func dead(in folder: String) throws -> UUID { try Spender(in: folder).holder }
}

private func fileNames(_ folder: String, _ holder: UUID) -> [String] {
  ((try? FileManager.default.contentsOfDirectory(atPath: "\(folder)/credits/\(holder.text)")) ?? []).sorted()
}

@Suite("CreditSpool")
struct CreditSpoolTests {
  @Test("what a dead process has spent is found once, and the files of a live one are left alone")
  func adoption() async throws {
    try await withFolder { folder in
      var spender: Spender? = try Spender(in: folder)
      let holder = try #require(spender?.holder)
      #expect(CreditSpool.adopt(in: folder).orphans.isEmpty)
      // Releases the lock, as at the end of a process.
      spender = nil
      let (orphans, failures) = CreditSpool.adopt(in: folder)
      #expect(failures.isEmpty)
      let orphan = try #require(orphans.first)
      #expect(orphans.count == 1 && orphan.holder == holder && orphan.spendings == Spender.spendings)
      #expect(CreditSpool.adopt(in: folder).orphans.isEmpty, "it is locked")
      orphan.remove()
      #expect(fileNames(folder, holder).isEmpty)
    }
  }

  @Test("a process that had no file yet is found, because it may have asked")
  func withoutFile() async throws {
    try await withFolder { folder in
      let holder = UUID.version7()
      _ = try CreditSpool(spool: folder, holder: holder)
      let orphan = try #require(CreditSpool.adopt(in: folder).orphans.first)
      #expect(orphan.holder == holder && orphan.spendings.isEmpty)
    }
  }

  @Test("a copied folder is not adopted, and its file is set aside")
  func copies() async throws {
    try await withFolder { folder in
      let original = try Spender(in: folder + "/original")
      try FileManager.default.copyItem(atPath: folder + "/original", toPath: folder + "/copy")
      let (orphans, failures) = CreditSpool.adopt(in: folder + "/copy")
      #expect(orphans.isEmpty && failures.count == 1 && failures[0].hasSuffix("1.credits is a copy"))
      #expect(fileNames(folder + "/copy", original.holder) == ["1.credits.aside", "lock"])
      let again = CreditSpool.adopt(in: folder + "/copy")
      #expect(again.orphans.isEmpty && again.failures.isEmpty, "nothing of the process is adopted later either")
      #expect(UsageAside.list(in: folder).count == 1, "the doctor says so")
    }
  }

  @Test(
    "nothing is adopted of a process with a file that is damaged, missing or has another name",
    arguments: ["damaged", "missing", "named"])
  func damaged(_ what: String) async throws {
    try await withFolder { folder in
      let holder = try Spender.dead(in: folder)
      let path = "\(folder)/credits/\(holder.text)/1.credits"
      switch what {
      case "damaged":
        try overwrite(path, at: SpoolHead.byteCount + SpoolHead.shardCount * CreditIntent.byteCount + 9, [0xFF])
      case "missing":
        try FileManager.default.moveItem(atPath: path, toPath: "\(folder)/credits/\(holder.text)/2.credits")
      default:
        try FileManager.default.moveItem(atPath: path, toPath: "\(folder)/credits/\(holder.text)/01.credits")
      }
      let (orphans, failures) = CreditSpool.adopt(in: folder)
      #expect(orphans.isEmpty && failures.count == 1)
      #expect(fileNames(folder, holder).contains { $0.hasSuffix(".credits.aside") })
      #expect(CreditSpool.adopt(in: folder).orphans.isEmpty)
    }
  }

  @Test("the folders of counters and of credits are not taken for each other")
  func besideCounters() async throws {
    try await withFolder { folder in
      _ = try Spender.dead(in: folder)
      let usage = try UsageSpool(root: folder)
      #expect(usage.adopt().isEmpty)
      #expect(CreditSpool.adopt(in: folder).orphans.count == 1)
    }
  }
}
