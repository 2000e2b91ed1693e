import Foundation
import PostgresTesting
import Testing

@testable import Portal

@Suite("CacheEntries")
struct CacheEntriesTests {
  /// The expected contents, as dictionaries.
  private struct Model {
    var things: [SecretHash: Thing] = [:]

    mutating func store(_ hash: SecretHash, _ thing: Thing) {
      things = things.filter { $0.key != hash && $0.value.id != thing.id }
      things[hash] = thing
    }
  }

  @Test("whatever is stored, found, removed and evicted, they agree with a dictionary", arguments: 0..<40)
  func model(_ seed: Int) {
    var random = SeededGenerator(seed: UInt64(seed))
    var entries = CacheEntries<Thing>()
    var model = Model()
    let range = [3, 20, 200, 2_000][seed % 4]
    func number() -> Int { Int.random(in: 0..<range, using: &random) }
    for _ in 0..<4_000 {
      switch Int.random(in: 0..<20, using: &random) {
      case 0..<12:
        // Sometimes a hash becomes another key's, or a key another owner's.
        let id = number()
        let hash = SecretHash.numbered(Int.random(in: 0..<10, using: &random) == 0 ? number() : id)
        let owner = Int.random(in: 0..<8, using: &random)
        let thing = Thing(
          id: .numbered(id), owner: owner == 0 ? nil : .numbered(1_000_000 + owner), dependsOnCatalog: id % 5 == 0)
        entries.store(hash, thing)
        model.store(hash, thing)
      case 12..<15:
        let id = UUID.numbered(number())
        entries.remove(id: id)
        model.things = model.things.filter { $0.value.id != id }
      case 15:
        let owner = UUID.numbered(1_000_000 + Int.random(in: 1..<8, using: &random))
        entries.removeAll(of: owner)
        model.things = model.things.filter { $0.value.owner != owner }
      case 16..<19:
        let before = model.things.count
        entries.evict()
        model.things = model.things.filter { entries.contains($0.key) }
        #expect(model.things.count == max(0, before - 1))
      default:
        switch Int.random(in: 0..<20, using: &random) {
        case 0:
          entries.removeAll()
          model.things = [:]
        case 1:
          entries.removeAllDependingOnCatalog()
          model.things = model.things.filter { !$0.value.dependsOnCatalog }
        default: break
        }
      }
      let asked = SecretHash.numbered(number())
      #expect(entries.find(asked) == model.things[asked])
      #expect(entries.count == model.things.count)
    }
    for (hash, thing) in model.things { #expect(entries.find(hash) == thing) }
  }

  @Test("an entry that was looked up since the hand passed it is skipped once")
  func sieve() {
    var entries = CacheEntries<Thing>()
    for number in 1...5 { entries.store(.numbered(number), Thing(id: .numbered(number), owner: nil)) }
    func left() -> [Int] { (1...9).filter { entries.contains(.numbered($0)) } }
    _ = entries.find(.numbered(1))
    _ = entries.find(.numbered(3))
    entries.evict()
    #expect(left() == [1, 3, 4, 5])
    // The hand continues from where it was, not from the oldest.
    entries.evict()
    #expect(left() == [1, 3, 5])
    entries.store(.numbered(6), Thing(id: .numbered(6), owner: nil))
    entries.evict()
    #expect(left() == [1, 3, 6])
    entries.evict()
    entries.evict()
    entries.evict()
    entries.evict()
    #expect(left() == [] && entries.count == 0)
  }

  @Test("in a skewed stream, a tenth of the keys answers most look-ups, more than with first in, first out")
  func hitRate() {
    var random = SeededGenerator(seed: 1)
    // Zipf with exponent 1 over 10,000 keys.
    let weights = (1...10_000).map { 1 / Double($0) }
    var cumulated: [Double] = []
    for weight in weights { cumulated.append((cumulated.last ?? 0) + weight) }
    var entries = CacheEntries<Thing>()
    var (queue, queued, queueHits, hits) = ([Int](), Set<Int>(), 0, 0)
    for _ in 0..<60_000 {
      let point = Double.random(in: 0..<(cumulated.last ?? 1), using: &random)
      let number = cumulated.partitioningIndex { $0 > point }
      if entries.find(.numbered(number)) != nil {
        hits += 1
      } else {
        if entries.count >= 1_000 { entries.evict() }
        entries.store(.numbered(number), Thing(id: .numbered(number), owner: nil))
      }
      if queued.contains(number) {
        queueHits += 1
      } else {
        if queued.count >= 1_000 { queued.remove(queue.removeFirst()) }
        queue.append(number)
        queued.insert(number)
      }
    }
    #expect(Double(hits) > 0.7 * 60_000 && hits > queueHits + 1_000, "\(hits) and \(queueHits) hits")
  }
}

extension Array {
  /// The first index whose element is wanted, if all after it are wanted as well.
  fileprivate func partitioningIndex(_ isWanted: (Element) -> Bool) -> Int {
    var (low, high) = (0, count)
    while low < high {
      let middle = (low + high) / 2
      if isWanted(self[middle]) { high = middle } else { low = middle + 1 }
    }
    return low
  }
}
