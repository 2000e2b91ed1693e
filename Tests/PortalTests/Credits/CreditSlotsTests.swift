import Foundation
import Testing

@testable import Portal

/// The memory of a credits file, and what another process would read in it after each store.
private final class Memory {
  private static let slotsPerShard = SpoolHead.slotsPerShardMin
  let head = SpoolHead(slotsPerShard: slotsPerShard, seed: 99, sourceID: .numbered(1), number: 1)
  private let bytes: UnsafeMutableRawBufferPointer
  /// What was read after each store.
  private(set) var read: [[CreditSlots.Spending]] = []

  init() {
    bytes = .allocate(byteCount: CreditExtent.byteCount(slotsPerShard: Self.slotsPerShard), alignment: 64)
    bytes.initializeMemory(as: UInt8.self, repeating: 0)
  }

  deinit { bytes.deallocate() }

  private var base: UnsafeMutableRawPointer {
    guard let base = bytes.baseAddress else { preconditionFailure("memory without an address") }
    return base
  }

  func slots(_ shard: Int) -> CreditSlots {
    let offset =
      SpoolHead.byteCount + SpoolHead.shardCount * CreditIntent.byteCount
      + shard * Self.slotsPerShard * CreditSlots.slotByteCount
    return CreditSlots(at: base + offset, seed: head.seed)
  }

  func intent(_ shard: Int) -> CreditIntent {
    CreditIntent(at: base + SpoolHead.byteCount + shard * CreditIntent.byteCount, seed: head.seed)
  }

  /// The process is killed here: reads what it leaves.
  func kill() {
    do throws(SpoolFailure) {
      read.append(CreditFile.spendings(of: [try CreditFile(base, head)]))
    } catch {
      Issue.record("after \(read.count) stores: \(error)")
    }
  }

  func damage(_ offset: Int) { bytes[offset] ^= 0x40 }

  func contents() throws(SpoolFailure) -> CreditFile { try CreditFile(base, head) }
}

private func spending(_ bucket: Int, _ spent: Int, generation: Int = 3) -> CreditSlots.Spending {
  CreditSlots.Spending(bucket: .numbered(bucket), generation: generation, spent: spent)
}

@Suite("CreditSlots and CreditIntent")
struct CreditSlotsTests {
  @Test("a slot is there after the last of its stores, and complete")
  func fill() {
    let memory = Memory()
    memory.kill()
    memory.slots(2).fill(5, spending(1, 40)) { memory.kill() }
    #expect(memory.read.count > 3)
    #expect(memory.read.dropLast().allSatisfy { $0.isEmpty })
    #expect(memory.read.last == [spending(1, 40)])
    #expect(memory.slots(2).content(5) == .taken(spending(1, 40)))
  }

  @Test("what is spent changes with a single store, and a freed slot can be filled again")
  func store() {
    let memory = Memory()
    let slots = memory.slots(0)
    slots.fill(0, spending(1, 0))
    for spent in [1, 2, 1 << 40, Int.max] {
      slots.store(spent, in: 0)
      #expect(slots.content(0) == .taken(spending(1, spent)))
    }
    slots.free(0)
    #expect(slots.content(0) == .free)
    slots.fill(0, spending(2, 7, generation: 4)) { memory.kill() }
    #expect(memory.read.dropLast().allSatisfy { $0.isEmpty } && memory.read.last == [spending(2, 7, generation: 4)])
  }

  @Test("of two buckets both are taken or none, wherever the process is killed")
  func both() {
    for (ownShard, accountShard) in [(3, 9), (9, 3), (4, 4)] {
      let memory = Memory()
      memory.slots(ownShard).fill(1, spending(1, 10))
      memory.slots(accountShard).fill(2, spending(2, 500))
      let note = CreditIntent.Note(
        own: .init(file: 1, shard: ownShard, index: 1), ownSpent: 10,
        account: .init(file: 1, shard: accountShard, index: 2), accountSpent: 500)
      memory.kill()
      memory.intent(ownShard).around(note, stored: { memory.kill() }) {
        memory.slots(ownShard).store(13, in: 1)
        memory.kill()
        memory.slots(accountShard).store(503, in: 2)
        memory.kill()
      }
      let (none, both) = ([spending(1, 10), spending(2, 500)], [spending(1, 13), spending(2, 503)])
      #expect(memory.read.count > 8)
      #expect(memory.read.dropLast().allSatisfy { $0 == none } && memory.read.last == both)
    }
  }

  @Test("an intent that was used before does not undo what came after it")
  func intentAgain() {
    let memory = Memory()
    memory.slots(0).fill(0, spending(1, 0))
    memory.slots(1).fill(0, spending(2, 0))
    let (own, account) = (
      CreditIntent.Place(file: 1, shard: 0, index: 0), CreditIntent.Place(file: 1, shard: 1, index: 0)
    )
    for spent in 0..<5 {
      let note = CreditIntent.Note(own: own, ownSpent: spent, account: account, accountSpent: spent)
      memory.intent(0).around(note, stored: { memory.kill() }) {
        memory.slots(0).store(spent + 1, in: 0)
        memory.kill()
        memory.slots(1).store(spent + 1, in: 0)
        memory.kill()
      }
      #expect(memory.read.last == [spending(1, spent + 1), spending(2, spent + 1)])
    }
    #expect(memory.read.allSatisfy { $0[0].spent == $0[1].spent })
  }

  @Test("a torn slot or intent makes the whole file unusable")
  func torn() throws {
    let slotsOffset = SpoolHead.byteCount + SpoolHead.shardCount * CreditIntent.byteCount
    for offset in [0, 8, 20, 24] {
      let memory = Memory()
      memory.slots(0).fill(0, spending(1, 5))
      memory.damage(slotsOffset + offset)
      #expect(throws: SpoolFailure.self) { try memory.contents() }
    }
    for offset in [0, 8, 16, 24, 40, 48] {
      let memory = Memory()
      let place = CreditIntent.Place(file: 1, shard: 0, index: 0)
      let note = CreditIntent.Note(own: place, ownSpent: 1, account: place, accountSpent: 2)
      memory.intent(0).around(note) {
        #expect(memory.intent(0).content == .noted(note))
        memory.damage(SpoolHead.byteCount + offset)
        #expect(throws: SpoolFailure.self) { try memory.contents() }
      }
      #expect(memory.intent(0).content == .none)
    }
  }

  @Test("the higher one of two slots of a bucket and a generation counts, and generations are kept apart")
  func twoSlots() throws {
    let memory = Memory()
    memory.slots(0).fill(0, spending(1, 5))
    memory.slots(0).fill(1, spending(1, 7))
    memory.slots(0).fill(2, spending(1, 2, generation: 4))
    #expect(try CreditFile.spendings(of: [memory.contents()]) == [spending(1, 7), spending(1, 2, generation: 4)])
  }
}
