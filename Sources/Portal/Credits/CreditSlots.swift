import Foundation
import Synchronization

/// A slot says how much of a bucket a process has spent in one generation. The slots of a shard are a part of a
/// ``CreditExtent``, of one cache line each, and the caller owns the memory.
///
/// They can be read after their process was killed at any instruction: what was spent changes with a single store, and
/// a new slot is filled before its tag is written. A slot without a tag is free.
struct CreditSlots {
  /// What a slot holds.
  struct Spending: Hashable, Sendable {
    let bucket: UUID
    let generation: Int
    var spent: Int
  }

  enum Content: Equatable {
    case free
    case taken(Spending)
    /// Torn by a power failure, or not written by this program.
    case damaged
  }

  /// Offsets in a slot, in bytes. The tag is 0 in a free slot; in a taken one it is a hash of the bucket and the
  /// generation, by which a torn slot is recognized.
  private enum Place {
    static let tag = 0
    static let bucket = 8
    static let generation = 24
    static let spent = 32
  }

  static let slotByteCount = 64

  private let base: UnsafeMutableRawPointer
  private let seed: UInt64

  /// The memory is ``slotByteCount`` bytes per slot, zero when it is new, and aligned to 8 bytes.
  init(at base: UnsafeMutableRawPointer, seed: UInt64) {
    self.base = base
    self.seed = seed
  }

  // `stored` is called after each store, so that a test can end the process there.

  /// Fills a free slot.
  func fill(_ index: Int, _ spending: Spending, stored: () -> Void = {}) {
    let slot = slot(index)
    slot.storeBytes(of: spending.bucket.uuid, toByteOffset: Place.bucket, as: uuid_t.self)
    stored()
    slot.storeBytes(of: spending.generation, toByteOffset: Place.generation, as: Int.self)
    stored()
    store(spending.spent, in: index)
    stored()
    // Released last, so that a reader of the file sees the tag only with a complete slot.
    word(slot + Place.tag).pointee.store(tag(of: spending), ordering: .releasing)
    stored()
  }

  /// Stores what was spent of a taken slot.
  func store(_ spent: Int, in index: Int) {
    word(slot(index) + Place.spent).pointee.store(UInt64(bitPattern: Int64(spent)), ordering: .releasing)
  }

  func free(_ index: Int) {
    word(slot(index) + Place.tag).pointee.store(0, ordering: .releasing)
    // What fills the slot next must not be stored before it is free.
    atomicMemoryFence(ordering: .acquiringAndReleasing)
  }

  func content(_ index: Int) -> Content {
    let slot = slot(index)
    let tag = word(slot + Place.tag).pointee.load(ordering: .acquiring)
    if tag == 0 { return .free }
    let spending = Spending(
      bucket: UUID(uuid: slot.loadUnaligned(fromByteOffset: Place.bucket, as: uuid_t.self)),
      generation: slot.loadUnaligned(fromByteOffset: Place.generation, as: Int.self),
      spent: slot.loadUnaligned(fromByteOffset: Place.spent, as: Int.self))
    guard tag == self.tag(of: spending), spending.generation >= 0, spending.spent >= 0 else { return .damaged }
    return .taken(spending)
  }

  private func slot(_ index: Int) -> UnsafeMutableRawPointer { base + index * Self.slotByteCount }

  private func word(_ pointer: UnsafeMutableRawPointer) -> UnsafeMutablePointer<Atomic<UInt64>> {
    pointer.assumingMemoryBound(to: Atomic<UInt64>.self)
  }

  /// Never 0. What was spent is not part of it, because it changes alone.
  private func tag(of spending: Spending) -> UInt64 {
    CreditTag.of(
      seed, spending.bucket.lowBits, spending.bucket.highBits, UInt64(bitPattern: Int64(spending.generation)))
  }
}

/// A note of two slots, of a key's bucket and of its account's, and of what was spent of both before a request takes
/// from both. While the note exists, the request has not been answered, and a reader of the file restores both values.
/// Either both are taken or none, at whatever point the process is killed.
struct CreditIntent {
  /// A slot, wherever it is.
  struct Place: Hashable, Sendable {
    /// The number of the file; 0 if the slot is in anonymous memory.
    let file: Int
    let shard: Int
    let index: Int
  }

  struct Note: Equatable, Sendable {
    var own: Place
    var ownSpent: Int
    var account: Place
    var accountSpent: Int
  }

  enum Content: Equatable {
    case none
    case noted(Note)
    case damaged
  }

  static let byteCount = 64

  /// Offsets in bytes. The tag is 0 if there is no note.
  private enum Field {
    static let tag = 0
    static let ownSpent = 8
    static let accountSpent = 16
    static let ownFile = 24
    static let accountFile = 32
    static let ownIndex = 40
    static let accountIndex = 44
    static let ownShard = 48
    static let accountShard = 50
  }

  private let base: UnsafeMutableRawPointer
  private let seed: UInt64

  init(at base: UnsafeMutableRawPointer, seed: UInt64) {
    self.base = base
    self.seed = seed
  }

  // `stored` is called after each store, so that a test can end the process there.

  /// Writes a note, calls `take`, which stores both new values, and removes the note.
  func around(_ note: Note, stored: () -> Void = {}, take: () -> Void) {
    base.storeBytes(of: note.ownSpent, toByteOffset: Field.ownSpent, as: Int.self)
    stored()
    base.storeBytes(of: note.accountSpent, toByteOffset: Field.accountSpent, as: Int.self)
    stored()
    base.storeBytes(of: note.own.file, toByteOffset: Field.ownFile, as: Int.self)
    base.storeBytes(of: note.account.file, toByteOffset: Field.accountFile, as: Int.self)
    stored()
    base.storeBytes(of: UInt32(truncatingIfNeeded: note.own.index), toByteOffset: Field.ownIndex, as: UInt32.self)
    base.storeBytes(
      of: UInt32(truncatingIfNeeded: note.account.index), toByteOffset: Field.accountIndex, as: UInt32.self)
    stored()
    base.storeBytes(of: UInt16(truncatingIfNeeded: note.own.shard), toByteOffset: Field.ownShard, as: UInt16.self)
    base.storeBytes(
      of: UInt16(truncatingIfNeeded: note.account.shard), toByteOffset: Field.accountShard, as: UInt16.self)
    stored()
    tagWord.pointee.store(tag(of: note), ordering: .releasing)
    // Neither value may be stored before the note is complete.
    atomicMemoryFence(ordering: .acquiringAndReleasing)
    stored()
    take()
    // Both values are stored before the note goes.
    tagWord.pointee.store(0, ordering: .releasing)
    // The fields of the next note must not be stored before this one has gone.
    atomicMemoryFence(ordering: .acquiringAndReleasing)
    stored()
  }

  var content: Content {
    let tag = tagWord.pointee.load(ordering: .acquiring)
    if tag == 0 { return .none }
    let note = Note(
      own: place(Field.ownFile, Field.ownShard, Field.ownIndex), ownSpent: load(Int.self, Field.ownSpent),
      account: place(Field.accountFile, Field.accountShard, Field.accountIndex),
      accountSpent: load(Int.self, Field.accountSpent))
    return tag == self.tag(of: note) ? .noted(note) : .damaged
  }

  private var tagWord: UnsafeMutablePointer<Atomic<UInt64>> {
    (base + Field.tag).assumingMemoryBound(to: Atomic<UInt64>.self)
  }

  private func place(_ file: Int, _ shard: Int, _ index: Int) -> Place {
    Place(file: load(Int.self, file), shard: Int(load(UInt16.self, shard)), index: Int(load(UInt32.self, index)))
  }

  private func load<Value: BitwiseCopyable>(_ type: Value.Type, _ offset: Int) -> Value {
    base.loadUnaligned(fromByteOffset: offset, as: type)
  }

  private func tag(of note: Note) -> UInt64 {
    CreditTag.of(
      CreditTag.of(
        seed, UInt64(bitPattern: Int64(note.ownSpent)), UInt64(bitPattern: Int64(note.accountSpent)),
        UInt64(bitPattern: Int64(note.own.file))),
      UInt64(bitPattern: Int64(note.account.file)), UInt64(note.own.index) << 32 | UInt64(note.account.index),
      UInt64(note.own.shard) << 16 | UInt64(note.account.shard))
  }
}

private enum CreditTag {
  /// A hash that is never 0.
  static func of(_ seed: UInt64, _ one: UInt64, _ two: UInt64, _ three: UInt64) -> UInt64 {
    mixed(mixed(one ^ seed, two), three ^ seed) | 1
  }

  /// The XOR of both halves of the product.
  private static func mixed(_ one: UInt64, _ other: UInt64) -> UInt64 {
    let product = (one ^ 0xA076_1D64_78BD_642F).multipliedFullWidth(by: other ^ 0xE703_7ED1_A0B4_28DB)
    return product.high ^ product.low
  }
}
