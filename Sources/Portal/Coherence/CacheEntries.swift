import Foundation

/// The entries of a cache: found by secret, by id and by owner, and evicted by SIEVE (Zhang et al., "SIEVE is Simpler
/// than LRU", NSDI 2024): a hit only sets a mark, and a hand that moves from the oldest to the newest evicts the first
/// entry without a mark, clearing the marks that it passes.
///
/// The entries are in one array, linked by their places in it, and the indexes hold only places and 32 bits of a hash.
struct CacheEntries<Value: Invalidatable>: Sendable {
  private typealias Place = Int32
  private static var none: Place { -1 }

  private struct Entry: Sendable {
    var value: Value
    /// By age.
    var newer = CacheEntries.none
    var older = CacheEntries.none
    /// Entries of the same owner.
    var next = CacheEntries.none
    var previous = CacheEntries.none
    var isVisited = false

    mutating func visit() -> Value {
      isVisited = true
      return value
    }
  }

  /// The hashes of `entries`. Separate, because reading a hash in an entry would copy the entry.
  private var hashes: ContiguousArray<SecretHash> = []
  private var entries: ContiguousArray<Entry?> = []
  private var free: [Place] = []
  private var byHash = HashIndex()
  private var byID = HashIndex()
  /// The first entry of each owner.
  private var byOwner = HashIndex()
  private var newest = CacheEntries.none
  private var oldest = CacheEntries.none
  private var hand = CacheEntries.none

  var count: Int { byHash.count }

  /// The value of a secret. A look-up keeps the entry from being evicted next.
  mutating func find(_ hash: SecretHash) -> Value? {
    guard let place = place(of: hash) else { return nil }
    return entries[Int(place)]?.visit()
  }

  func contains(_ hash: SecretHash) -> Bool { place(of: hash) != nil }

  /// Stores a value in place of the entries of this secret and of this id.
  mutating func store(_ hash: SecretHash, _ value: Value) {
    if let place = place(of: hash), let former = entries[Int(place)] {
      if former.value.id == value.id, former.value.owner == value.owner {
        entries[Int(place)]?.value = value
        return
      }
      // The hash now belongs to another key.
      remove(place)
    }
    // A key whose hash was changed by hand is still stored under the old one.
    remove(id: value.id)
    insert(hash, Entry(value: value, older: newest))
  }

  mutating func remove(_ hash: SecretHash) {
    if let place = place(of: hash) { remove(place) }
  }

  mutating func remove(id: UUID) {
    if let place = byID.find(id.indexBits, { entries[Int($0)]?.value.id == id }) { remove(place) }
  }

  mutating func removeAll(of owner: UUID) {
    while let place = first(of: owner) { remove(place) }
  }

  /// Looks at every entry, without copying any.
  mutating func removeAllDependingOnCatalog() {
    for place in entries.indices where entries[place]?.value.dependsOnCatalog == true { remove(Place(place)) }
  }

  mutating func removeAll() { self = CacheEntries() }

  /// Removes the entry that SIEVE chooses.
  mutating func evict() {
    var place = hand == Self.none ? oldest : hand
    guard place != Self.none else { return }
    while entries[Int(place)]?.isVisited == true {
      entries[Int(place)]?.isVisited = false
      place = newer(than: place)
      if place == Self.none { place = oldest }
    }
    hand = place
    // This moves the hand on.
    remove(place)
  }

  // MARK: Places

  private func place(of hash: SecretHash) -> Place? {
    byHash.find(hash.indexBits) { hashes[Int($0)] == hash }
  }

  private func first(of owner: UUID) -> Place? {
    byOwner.find(owner.indexBits) { entries[Int($0)]?.value.owner == owner }
  }

  private func newer(than place: Place) -> Place { entries[Int(place)]?.newer ?? Self.none }

  private mutating func insert(_ hash: SecretHash, _ entry: Entry) {
    let place = put(hash, entry)
    link(newest, \.newer, to: place)
    newest = place
    if oldest == Self.none { oldest = place }
    byHash.insert(place, hash.indexBits)
    byID.insert(place, entry.value.id.indexBits)
    guard let owner = entry.value.owner else { return }
    if let first = first(of: owner) {
      link(first, \.previous, to: place)
      link(place, \.next, to: first)
      byOwner.replace(first, by: place, owner.indexBits)
    } else {
      byOwner.insert(place, owner.indexBits)
    }
  }

  private mutating func put(_ hash: SecretHash, _ entry: Entry) -> Place {
    if let place = free.popLast() {
      entries[Int(place)] = entry
      hashes[Int(place)] = hash
      return place
    }
    // Growing by an eighth, because doubling would leave a quarter of the memory unused on average.
    if entries.count == entries.capacity { entries.reserveCapacity(entries.count + max(64, entries.count / 8)) }
    if hashes.count == hashes.capacity { hashes.reserveCapacity(hashes.count + max(64, hashes.count / 8)) }
    entries.append(entry)
    hashes.append(hash)
    return Place(entries.count - 1)
  }

  private mutating func remove(_ place: Place) {
    guard let entry = entries[Int(place)] else { return }
    if hand == place { hand = entry.newer }
    if newest == place { newest = entry.older }
    if oldest == place { oldest = entry.newer }
    link(entry.older, \.newer, to: entry.newer)
    link(entry.newer, \.older, to: entry.older)
    byHash.remove(place, hashes[Int(place)].indexBits)
    byID.remove(place, entry.value.id.indexBits)
    if let owner = entry.value.owner {
      link(entry.next, \.previous, to: entry.previous)
      link(entry.previous, \.next, to: entry.next)
      if entry.previous == Self.none {
        if entry.next == Self.none {
          byOwner.remove(place, owner.indexBits)
        } else {
          byOwner.replace(place, by: entry.next, owner.indexBits)
        }
      }
    }
    entries[Int(place)] = nil
    free.append(place)
  }

  /// Changes an entry's links in place; does nothing for `none`.
  private mutating func link(_ place: Place, _ link: WritableKeyPath<Entry, Place>, to other: Place) {
    if place != Self.none { entries[Int(place)]?[keyPath: link] = other }
  }
}

extension UUID {
  /// Mixed, because ids that are not of version 7 may share their last bytes.
  fileprivate var indexBits: UInt32 { UInt32(truncatingIfNeeded: lowBits &* 0x9E37_79B9_7F4A_7C15 >> 32) }
}
