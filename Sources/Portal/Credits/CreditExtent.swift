import Foundation

/// Memory for what this process has spent of buckets: a head, an intent per shard, and the slots of each shard. It is
/// mapped from a file, so that what was spent survives the process, or anonymous where no file can be created
/// (``SpoolMemory``).
///
/// Slots and intents of a shard are written only under that shard's lock. Numbers of files have no gap, so that a
/// missing one is noticed.
final class CreditExtent: Sendable {
  static let kind = SpoolHead.Kind(name: "credits file", magics: [magic]) { byteCount(slotsPerShard: $0) }

  /// `LCREDI01`: the last two characters are the version.
  private static let magic: UInt64 = 0x3130_4944_4552_434C
  private static let intentsByteCount = SpoolHead.shardCount * CreditIntent.byteCount
  private static let slotsOffset = SpoolHead.byteCount + intentsByteCount

  private let memory: SpoolMemory
  private let head: SpoolHead

  private init(_ memory: SpoolMemory, _ head: SpoolHead) {
    self.memory = memory
    self.head = head
  }

  /// Cannot overflow, because `slotsPerShard` is within the bounds of ``SpoolHead``.
  static func byteCount(slotsPerShard: Int) -> Int {
    slotsOffset + SpoolHead.shardCount * slotsPerShard * CreditSlots.slotByteCount
  }

  /// In anonymous memory.
  static func anonymous(slotsPerShard: Int) -> CreditExtent {
    let head = SpoolHead(slotsPerShard: slotsPerShard, seed: 1, sourceID: UUID(), number: 0)
    return CreditExtent(.anonymous(byteCount: byteCount(slotsPerShard: slotsPerShard)), head)
  }

  /// In a new file at `path`. `slotsPerShard` is a power of two within the bounds of ``SpoolHead``.
  static func make(
    at path: String, holder: UUID, number: Int, slotsPerShard: Int, seed: UInt64 = .random(in: 1...(.max))
  ) throws(SpoolFailure) -> CreditExtent {
    let head = SpoolHead(slotsPerShard: slotsPerShard, seed: seed, sourceID: holder, number: number)
    let memory = try SpoolMemory.make(at: path, byteCount: byteCount(slotsPerShard: slotsPerShard)) { page, inode in
      head.write(to: page, magic: magic, inode: inode)
    }
    return CreditExtent(memory, head)
  }

  /// 0 if the memory is anonymous.
  var number: Int { head.number }
  var isAnonymous: Bool { memory.path == nil }
  var slotsPerShard: Int { head.slotsPerShard }
  var fileByteCount: Int { isAnonymous ? 0 : memory.byteCount }

  func slots(_ shard: Int) -> CreditSlots { Self.slots(of: memory.base, shard, head) }

  func intent(_ shard: Int) -> CreditIntent { Self.intent(of: memory.base, shard, head) }

  func removeFile() { memory.removeFile() }

  // MARK: Reading

  fileprivate static func slots(of base: UnsafeMutableRawPointer, _ shard: Int, _ head: SpoolHead) -> CreditSlots {
    CreditSlots(
      at: base + slotsOffset + shard * head.slotsPerShard * CreditSlots.slotByteCount, seed: head.seed)
  }

  fileprivate static func intent(of base: UnsafeMutableRawPointer, _ shard: Int, _ head: SpoolHead) -> CreditIntent {
    CreditIntent(at: base + SpoolHead.byteCount + shard * CreditIntent.byteCount, seed: head.seed)
  }
}

/// The contents of a file that another process left behind.
struct CreditFile: Sendable {
  let path: String
  let number: Int
  private(set) var slots: [CreditIntent.Place: CreditSlots.Spending] = [:]
  private(set) var intents: [CreditIntent.Note] = []

  /// Nil if nothing was ever stored in the file. Throws if it is a copy or damaged in any place: what was spent would
  /// be unknown. Blocks.
  init?(at path: String, holder: UUID, number: Int) throws(SpoolFailure) {
    let descriptor = try SpoolDescriptor(path)
    guard let (head, _) = try descriptor.judge(CreditExtent.kind, sourceID: holder, fileNumber: number) else {
      return nil
    }
    self.path = path
    self.number = number
    let byteCount = CreditExtent.byteCount(slotsPerShard: head.slotsPerShard)
    let buffer = UnsafeMutableRawBufferPointer.allocate(byteCount: byteCount, alignment: 64)
    defer { buffer.deallocate() }
    guard let base = buffer.baseAddress, try descriptor.read(0, into: buffer) == byteCount else {
      throw SpoolFailure("\(path) has been truncated since it was found")
    }
    try read(base, head)
  }

  /// Reads the memory of a file.
  init(_ base: UnsafeMutableRawPointer, _ head: SpoolHead) throws(SpoolFailure) {
    path = "memory"
    number = head.number
    try read(base, head)
  }

  private mutating func read(_ base: UnsafeMutableRawPointer, _ head: SpoolHead) throws(SpoolFailure) {
    for shard in 0..<SpoolHead.shardCount {
      let slots = CreditExtent.slots(of: base, shard, head)
      for index in 0..<head.slotsPerShard {
        switch slots.content(index) {
        case .free: break
        case .taken(let spending): self.slots[.init(file: number, shard: shard, index: index)] = spending
        case .damaged: throw SpoolFailure("\(path) has damaged slots")
        }
      }
      switch CreditExtent.intent(of: base, shard, head).content {
      case .none: break
      case .noted(let note): intents.append(note)
      case .damaged: throw SpoolFailure("\(path) has a damaged intent")
      }
    }
  }

  /// What the process has spent by all of its files, with the intents undone. There may be two slots of a bucket and a
  /// generation, if the process was killed while it moved one: the higher one counts.
  static func spendings(of files: [CreditFile]) -> [CreditSlots.Spending] {
    var slots = files.reduce(into: [:]) { $0.merge($1.slots) { one, _ in one } }
    for note in files.flatMap(\.intents) {
      slots[note.own]?.spent = note.ownSpent
      slots[note.account]?.spent = note.accountSpent
    }
    var spent: [CreditSlots.Spending: Int] = [:]
    for slot in slots.values {
      let name = CreditSlots.Spending(bucket: slot.bucket, generation: slot.generation, spent: 0)
      spent[name] = max(spent[name] ?? 0, slot.spent)
    }
    return spent.map { CreditSlots.Spending(bucket: $0.bucket, generation: $0.generation, spent: $1) }
      .sorted { ($0.bucket.text, $0.generation) < ($1.bucket.text, $1.generation) }
  }
}
