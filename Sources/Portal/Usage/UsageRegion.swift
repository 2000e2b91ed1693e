import Foundation
import Glibc
import Synchronization

/// A hash table of counters, the part of a ``UsageExtent`` that belongs to one shard. It uses open addressing over
/// slots of one cache line each, followed by the bytes of the endpoint names. The caller owns the memory.
///
/// The table can be read after its process was killed at any instruction: a count is incremented with a single store,
/// and a new slot is filled before its tag is written. A slot without a tag is free. Neither operation allocates.
struct UsageRegion {
  /// Offsets in a slot, in bytes. The tag is 0 in a free slot; in a taken slot it is the hash of the name, by which a
  /// slot torn by a power failure is recognized.
  private enum Slot {
    static let tag = 0
    static let accountID = 8
    static let keyID = 24
    static let hour = 40
    static let endpointOffset = 44
    static let verified = 48
    static let denied = 52
    static let lastUsed = 56
    static let endpointLength = 60
    static let byteCount = 64
  }

  /// The size of the header, which holds the number of slots and of endpoint bytes that are taken.
  private static let headByteCount = 64
  /// The maximum load of the table, in quarters.
  private static let quartersTakenMax = 3
  static let endpointBytesPerSlot = 32

  private let base: UnsafeMutableRawPointer
  private let slotCount: Int
  private let seed: UInt64

  /// `slotCount` is a power of two; the memory is ``byteCount(slotCount:)`` bytes, zero when it is new.
  init(at base: UnsafeMutableRawPointer, slotCount: Int, seed: UInt64) {
    self.base = base
    self.slotCount = slotCount
    self.seed = seed
  }

  static func byteCount(slotCount: Int) -> Int {
    headByteCount + slotCount * (Slot.byteCount + endpointBytesPerSlot)
  }

  /// From the header, which reading the counters does not rely on.
  var takenCount: Int { min(Int(load(UInt32.self, 0)), slotCount) }

  private var endpointByteCount: Int { slotCount * Self.endpointBytesPerSlot }

  // MARK: Counting

  /// Verdicts with the same values are counted together.
  struct Name {
    let accountID: UUID
    let keyID: UUID
    let hour: Int
    let endpoint: UnsafeBufferPointer<UInt8>
  }

  /// Increments an existing counter; false if there is none. `now` is in milliseconds since 1970 and not negative.
  func add(_ name: Name, isValid: Bool, at now: Int) -> Bool {
    let tag = tag(of: name)
    guard let slot = slot(of: name, tag), load(UInt64.self, slot + Slot.tag) == tag else { return false }
    count(isValid, at: now, in: slot)
    return true
  }

  /// Inserts a counter that does not exist yet, with a count of one; false if there is no room.
  func insert(_ name: Name, isValid: Bool, at now: Int) -> Bool {
    let tag = tag(of: name)
    let (taken, endpointOffset) = (takenCount, Int(load(UInt32.self, 4)))
    guard taken < slotCount / 4 * Self.quartersTakenMax, let length = UInt16(exactly: name.endpoint.count),
      endpointOffset + name.endpoint.count <= endpointByteCount, let slot = slot(of: name, tag)
    else { return false }
    if let bytes = name.endpoint.baseAddress {
      (endpoints + endpointOffset).copyMemory(from: bytes, byteCount: name.endpoint.count)
    }
    store(UInt32(endpointOffset + name.endpoint.count), 4)
    store(name.accountID.uuid, slot + Slot.accountID)
    store(name.keyID.uuid, slot + Slot.keyID)
    store(UInt32(truncatingIfNeeded: name.hour), slot + Slot.hour)
    store(UInt32(endpointOffset), slot + Slot.endpointOffset)
    store(length, slot + Slot.endpointLength)
    count(isValid, at: now, in: slot)
    store(UInt32(taken + 1), 0)
    // Released last, so that a reader of the file sees the tag only with a complete slot.
    (base + slot + Slot.tag).assumingMemoryBound(to: Atomic<UInt64>.self).pointee.store(tag, ordering: .releasing)
    return true
  }

  private func count(_ isValid: Bool, at now: Int, in slot: Int) {
    let counter = slot + (isValid ? Slot.verified : Slot.denied)
    store(load(UInt32.self, counter) &+ 1, counter)
    let millisecond = UInt32(now % UsageCounter.millisecondsPerHour)
    if millisecond > load(UInt32.self, slot + Slot.lastUsed) { store(millisecond, slot + Slot.lastUsed) }
  }

  /// The offset of the slot that holds the counter, or of the free one where it would go; nil if the table is full.
  private func slot(of name: Name, _ tag: UInt64) -> Int? {
    var index = Int(truncatingIfNeeded: tag >> 1) & (slotCount - 1)
    for _ in 0..<slotCount {
      let slot = Self.headByteCount + index * Slot.byteCount
      let found = load(UInt64.self, slot + Slot.tag)
      if found == 0 || found == tag && holds(name, slot) { return slot }
      index = (index + 1) & (slotCount - 1)
    }
    return nil
  }

  private func holds(_ name: Name, _ slot: Int) -> Bool {
    guard UUID(uuid: load(uuid_t.self, slot + Slot.keyID)) == name.keyID,
      load(UInt32.self, slot + Slot.hour) == UInt32(truncatingIfNeeded: name.hour),
      load(UInt16.self, slot + Slot.endpointLength) == name.endpoint.count
    else { return false }
    guard let bytes = name.endpoint.baseAddress else { return true }
    let offset = Int(load(UInt32.self, slot + Slot.endpointOffset))
    return offset + name.endpoint.count <= endpointByteCount
      && memcmp(endpoints + offset, bytes, name.endpoint.count) == 0
  }

  /// Never 0. Seeded, so that a client that chooses endpoint names cannot choose their slots.
  private func tag(of name: Name) -> UInt64 {
    var hash = Self.mixed(name.keyID.lowBits ^ seed, name.keyID.highBits ^ UInt64(truncatingIfNeeded: name.hour))
    hash = Self.mixed(hash ^ name.accountID.lowBits, name.accountID.highBits)
    var rest = UnsafeRawBufferPointer(name.endpoint)
    while rest.count >= 8 {
      hash = Self.mixed(hash ^ rest.loadUnaligned(as: UInt64.self), 0x9E37_79B9_7F4A_7C15)
      rest = UnsafeRawBufferPointer(rebasing: rest[8...])
    }
    var last = UInt64(name.endpoint.count) << 56
    for byte in rest { last = last << 8 | UInt64(byte) }
    return Self.mixed(hash ^ last, seed | 1) | 1
  }

  /// The XOR of both halves of the product.
  private static func mixed(_ one: UInt64, _ other: UInt64) -> UInt64 {
    let product = (one ^ 0xA076_1D64_78BD_642F).multipliedFullWidth(by: other ^ 0xE703_7ED1_A0B4_28DB)
    return product.high ^ product.low
  }

  // MARK: Reading

  /// Calls `body` with every counter; returns the number of damaged slots, which are torn or hold impossible values.
  /// Nothing may be counted meanwhile. Reads stay within the bounds of the memory, whatever it holds.
  func read(_ body: (UsageCounter) -> Void) -> Int {
    var damagedCount = 0
    for index in 0..<slotCount {
      let slot = Self.headByteCount + index * Slot.byteCount
      let tag = load(UInt64.self, slot + Slot.tag)
      if tag == 0 { continue }
      if let counter = counter(slot, tag) { body(counter) } else { damagedCount += 1 }
    }
    return damagedCount
  }

  private func counter(_ slot: Int, _ tag: UInt64) -> UsageCounter? {
    let offset = Int(load(UInt32.self, slot + Slot.endpointOffset))
    let length = Int(load(UInt16.self, slot + Slot.endpointLength))
    guard offset + length <= endpointByteCount else { return nil }
    let bytes = UnsafeRawBufferPointer(start: endpoints + offset, count: length)
    return bytes.withMemoryRebound(to: UInt8.self) { endpoint in
      let name = Name(
        accountID: UUID(uuid: load(uuid_t.self, slot + Slot.accountID)),
        keyID: UUID(uuid: load(uuid_t.self, slot + Slot.keyID)), hour: Int(load(UInt32.self, slot + Slot.hour)),
        endpoint: endpoint)
      let (verified, denied, lastUsed) = (
        Int(load(UInt32.self, slot + Slot.verified)), Int(load(UInt32.self, slot + Slot.denied)),
        Int(load(UInt32.self, slot + Slot.lastUsed))
      )
      guard self.tag(of: name) == tag, name.hour <= UsageCounter.hourMax, lastUsed < UsageCounter.millisecondsPerHour,
        max(verified, denied) <= UsageCounter.countMax, let text = UsageCounter.endpoint(endpoint)
      else { return nil }
      return UsageCounter(
        accountID: name.accountID, keyID: name.keyID, hour: name.hour, endpoint: text, verified: verified,
        denied: denied, lastUsedAt: name.hour * UsageCounter.millisecondsPerHour + lastUsed)
    }
  }

  // MARK: Memory

  private var endpoints: UnsafeMutableRawPointer { base + Self.headByteCount + slotCount * Slot.byteCount }

  private func load<Value: BitwiseCopyable>(_ type: Value.Type, _ offset: Int) -> Value {
    (base + offset).loadUnaligned(as: type)
  }

  private func store<Value: BitwiseCopyable>(_ value: Value, _ offset: Int) {
    (base + offset).storeBytes(of: value, as: Value.self)
  }
}
