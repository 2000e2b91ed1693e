import Foundation
import PostgresTesting
import Synchronization
import Testing

@testable import Portal

private let (own, shared) = (UUID.numbered(1), UUID.numbered(2))
private let ownCredits = KeyCredits(own: own, account: nil)!
private let bothCredits = KeyCredits(own: own, account: shared)!

/// What is left by the ledgers' files or memory.
private func end(_ ledgers: [CreditLedger], at bank: CreditsBank) {
  for ledger in ledgers { if let told = ledger.end() { bank.close(told.holder, told.spendings) } }
}

@Suite("CreditLedger")
struct CreditLedgerTests {
  @Test("known credits are spent without asking, and what is left is told")
  func memory() async throws {
    let bank = CreditsBank([own: 1_000])
    let ledger = bank.makeLedger()
    guard case .unsure = ledger.reserve(ownCredits, cost: 1, at: .now) else {
      Issue.record("it has not asked yet")
      return
    }
    #expect(ledger.peek(ownCredits) == nil)
    #expect(try await ledger.spend(4, of: ownCredits))
    let count = bank.askCount
    #expect(ledger.peek(ownCredits) == CreditStanding(remaining: 996))
    for _ in 0..<5 { #expect(try await ledger.spend(1, of: ownCredits)) }
    #expect(bank.askCount == count && ledger.peek(ownCredits)?.remaining == 991)
    #expect(ledger.holdings.blockCount == 1 && ledger.holdings.failure == nil)
    end([ledger], at: bank)
    #expect(bank.balance(own) == 991)
  }

  @Test(
    "fifty clients on three instances use a bucket up to the last one, at any mix of costs, also if answers are lost",
    arguments: 0..<10, [true, false])
  func lastOne(_ seed: Int, _ isReliable: Bool) async throws {
    let bank = CreditsBank([own: 2_000], seed: isReliable ? nil : seed)
    let ledgers = (0..<3).map { _ in bank.makeLedger() }
    let admitted = Atomic<Int>(0)
    let outcomes = await concurrently(50) { client in
      var random = SeededGenerator(seed: UInt64(seed * 100 + client))
      let ledger = ledgers[client % 3]
      // Until not even one is left.
      while true {
        let cost = Int.random(in: 1...9, using: &random)
        if try await ledger.spend(cost, of: ownCredits) {
          admitted.add(cost, ordering: .relaxed)
        } else if try await ledger.spend(1, of: ownCredits) {
          admitted.add(1, ordering: .relaxed)
        } else {
          return
        }
      }
    }
    #expect(outcomes.errors.isEmpty, "\(outcomes.errors.prefix(3))")
    #expect(admitted.load(ordering: .relaxed) == 2_000)
    end(ledgers, at: bank)
    #expect(bank.balance(own) == 0 && bank.oversold(own) == 0)
  }

  @Test("of a key with two buckets both are taken or none", arguments: [true, false])
  func both(_ isOwnSmaller: Bool) async throws {
    let bank = CreditsBank([own: isOwnSmaller ? 100 : 300, shared: isOwnSmaller ? 300 : 100])
    let ledgers = (0..<2).map { _ in bank.makeLedger() }
    let outcomes = await concurrently(20) { client in
      var count = 0
      while try await ledgers[client % 2].spend(3, of: bothCredits) { count += 1 }
      return count
    }
    #expect(outcomes.errors.isEmpty, "\(outcomes.errors.prefix(3))")
    #expect(outcomes.values.reduce(0, +) == 33)
    end(ledgers, at: bank)
    #expect(bank.balance(own) == (isOwnSmaller ? 1 : 201) && bank.balance(shared) == (isOwnSmaller ? 201 : 1))
  }

  @Test("what was reserved and released is not spent")
  func released() async throws {
    let bank = CreditsBank([own: 5])
    let ledger = bank.makeLedger()
    guard case .reserved(let reservation) = try await ledger.reserveWaiting(ownCredits, cost: 5) else {
      Issue.record("not reserved")
      return
    }
    ledger.release(reservation)
    #expect(try await ledger.spend(5, of: ownCredits))
    #expect(try await ledger.spend(1, of: ownCredits) == false)
    guard case .refused(let refusal) = ledger.reserve(ownCredits, cost: 1, at: .now) else {
      Issue.record("a refusal is remembered")
      return
    }
    #expect(refusal == CreditRefusal(left: 0, refillMilliseconds: nil))
  }

  @Test("a changed bucket is asked anew")
  func changed() async throws {
    let bank = CreditsBank([own: 5])
    let ledger = bank.makeLedger()
    #expect(try await ledger.spend(5, of: ownCredits))
    #expect(try await ledger.spend(1, of: ownCredits) == false)
    bank.change(own, .set(3))
    #expect(try await ledger.spend(3, of: ownCredits))
    #expect(try await ledger.spend(1, of: ownCredits) == false)
    bank.change(own, .increment(2))
    #expect(try await ledger.spend(2, of: ownCredits))
    #expect(try await ledger.spend(1, of: ownCredits) == false)
    end([ledger], at: bank)
    #expect(bank.balance(own) == 0)
  }

  @Test("a failed statement is repeated, and a request that waits for too long is unavailable")
  func failures() async throws {
    let bank = CreditsBank([own: 50])
    let ledger = bank.makeLedger()
    bank.failNext(3)
    #expect(try await ledger.spend(1, of: ownCredits))
    let hasty = bank.makeLedger(lease: .milliseconds(50))
    bank.failNext(1_000)
    await #expect(throws: PortalError.self) { _ = try await hasty.spend(1, of: ownCredits) }
  }

  @Test("a bucket that does not exist is gone")
  func gone() async throws {
    let bank = CreditsBank([own: 50])
    let ledger = bank.makeLedger()
    #expect(try await ledger.spend(1, of: ownCredits))
    bank.remove(own)
    ledger.changed(own)
    guard case .gone = try await ledger.reserveWaiting(ownCredits, cost: 1) else {
      Issue.record("not gone")
      return
    }
  }

  @Test("what a killed process has spent is in its files, to the last verdict, and is adopted once")
  func files() async throws {
    try await withFolder { folder in
      let bank = CreditsBank([own: 1_000, shared: 1_000])
      for round in 1...3 {
        // Releases its memory and its lock at the end of the scope, as at the end of a process, and tells nothing.
        do {
          let ledger = bank.makeLedger(spool: folder)
          for _ in 0..<7 { #expect(try await ledger.spend(3, of: ownCredits)) }
          for _ in 0..<5 { #expect(try await ledger.spend(2, of: bothCredits)) }
          #expect(ledger.holdings.fileByteCount > 0)
        }
        bank.forgetLedgers()
        try await eventually("the process has ended") {
          let (orphans, failures) = CreditSpool.adopt(in: folder)
          #expect(failures.isEmpty)
          for orphan in orphans {
            bank.close(orphan.holder, orphan.spendings)
            orphan.remove()
          }
          return !orphans.isEmpty
        }
        #expect(bank.balance(own) == 1_000 - 31 * round && bank.balance(shared) == 1_000 - 10 * round)
      }
      #expect(try FileManager.default.contentsOfDirectory(atPath: folder + "/credits") == [])
    }
  }

  @Test("a process whose files were adopted goes on under a new id, with new files")
  func closed() async throws {
    try await withFolder { folder in
      let bank = CreditsBank([own: 100])
      let ledger = bank.makeLedger(spool: folder)
      #expect(try await ledger.spend(10, of: ownCredits))
      let first = ledger.unsettled(isAll: true)
      bank.close(first.holder, first.spendings)
      #expect(bank.balance(own) == 90)
      ledger.changed(own)
      #expect(try await ledger.spend(90, of: ownCredits))
      #expect(try await ledger.spend(1, of: ownCredits) == false)
      let second = ledger.unsettled(isAll: true)
      #expect(second.holder != first.holder && second.needsHearing && !first.needsHearing)
      #expect(bank.openedHolders == [first.holder, second.holder])
      let folders = try FileManager.default.contentsOfDirectory(atPath: folder + "/credits")
      #expect(folders == [second.holder.text])
    }
  }

  @Test("without a usable folder it spends in memory and says so, and moves to files when it can")
  func unusable() async throws {
    try await withFolder { folder in
      // There is a file in place of the folder.
      try Data().write(to: URL(filePath: folder))
      let ids = (0..<40).map { UUID.numbered($0) }
      let bank = CreditsBank(Dictionary(uniqueKeysWithValues: ids.map { ($0, 100) }))
      let ledger = bank.makeLedger(spool: folder)
      func spendOfAll() async throws {
        for id in ids {
          let credits = try #require(KeyCredits(own: id, account: nil))
          #expect(try await ledger.spend(10, of: credits))
        }
      }
      try await spendOfAll()
      #expect(ledger.holdings.failure != nil && ledger.holdings.fileByteCount == 0)
      ledger.tick()
      #expect(ledger.holdings.failure != nil, "there still is no folder")
      try FileManager.default.removeItem(atPath: folder)
      ledger.tick()
      #expect(ledger.holdings.failure == nil && ledger.holdings.fileByteCount > 0)
      try await spendOfAll()
      let holder = ledger.unsettled(isAll: true).holder
      let file = try CreditFile(at: "\(folder)/credits/\(holder.text)/1.credits", holder: holder, number: 1)
      let spendings = file.map { CreditFile.spendings(of: [$0]) } ?? []
      #expect(spendings.map(\.bucket) == ids && spendings.allSatisfy { $0.spent == 20 })
      #expect(CreditsBank([:]).makeLedger().holdings.failure == nil, "without a configured folder there is no failure")
    }
  }

  @Test("many buckets continue in larger files, and slots of returned ones are used again")
  func manyBuckets() async throws {
    try await withFolder { folder in
      let ids = (0..<3_000).map { UUID.numbered($0) }
      let bank = CreditsBank(Dictionary(uniqueKeysWithValues: ids.map { ($0, 10) }))
      let ledger = bank.makeLedger(spool: folder)
      let outcomes = await concurrently(20) { client in
        for id in stride(from: client, to: ids.count, by: 20).map({ ids[$0] }) {
          guard let credits = KeyCredits(own: id, account: nil) else { return false }
          guard try await ledger.spend(2, of: credits) else { return false }
        }
        return true
      }
      #expect(outcomes.errors.isEmpty && outcomes.values.allSatisfy { $0 })
      let told = try #require(ledger.end())
      #expect(told.spendings.count == 3_000 && told.spendings.allSatisfy { $0.spent == 2 })
      ledger.removeFiles()
      #expect(try FileManager.default.contentsOfDirectory(atPath: folder + "/credits") == [])
    }
  }

  @Test("after its end it spends nothing")
  func ended() async throws {
    let bank = CreditsBank([own: 100])
    let ledger = bank.makeLedger()
    #expect(ledger.end() == nil, "it has never asked")
    await #expect(throws: PortalError.self) { _ = try await ledger.spend(1, of: ownCredits) }
  }
}
