import Foundation
import PostgresTesting
import Testing

@testable import Portal

/// A region in memory of its own.
private final class OwnedRegion {
  let region: UsageRegion
  let bytes: UnsafeMutableRawBufferPointer

  init(slotCount: Int) {
    bytes = .allocate(byteCount: UsageRegion.byteCount(slotCount: slotCount), alignment: 64)
    bytes.initializeMemory(as: UInt8.self, repeating: 0)
    region = UsageRegion(at: bytes.baseAddress!, slotCount: slotCount, seed: 7)
  }

  deinit { bytes.deallocate() }

  /// False if there is no room.
  func count(_ key: Int, _ endpoint: String, isValid: Bool = true, at now: Int = 0, account: Int = 100) -> Bool {
    var endpoint = endpoint
    return endpoint.withUTF8 { bytes in
      let name = UsageRegion.Name(
        accountID: .numbered(account), keyID: .numbered(key), hour: UsageCounter.hour(ofMilliseconds: now),
        endpoint: bytes)
      return region.add(name, isValid: isValid, at: now) || region.insert(name, isValid: isValid, at: now)
    }
  }

  var counters: [UsageCounter] {
    var counters: [UsageCounter] = []
    #expect(region.read { counters.append($0) } == 0)
    return counters
  }
}

@Suite("UsageRegion")
struct UsageRegionTests {
  private let noon = 480_012 * UsageCounter.millisecondsPerHour

  @Test("verdicts are counted by key, hour and endpoint, good ones and others apart, with the last moment of each")
  func counting() {
    let owned = OwnedRegion(slotCount: 64)
    for (isValid, offset) in [(true, 5), (true, 3), (false, 9), (false, 8), (true, 2)] {
      #expect(owned.count(1, "GET /things", isValid: isValid, at: noon + offset))
    }
    for (key, endpoint, hour) in [(1, "GET /other", 0), (2, "GET /things", 0), (1, "GET /things", 1), (1, "", 0)] {
      #expect(owned.count(key, endpoint, at: noon + hour * UsageCounter.millisecondsPerHour))
    }
    let counters = owned.counters
    #expect(counters.count == 5 && owned.region.takenCount == 5)
    #expect(
      counters.contains(
        UsageCounter(
          accountID: .numbered(100), keyID: .numbered(1), hour: 480_012, endpoint: "GET /things", verified: 3,
          denied: 2, lastUsedAt: noon + 9)))
    #expect(counters.filter { $0.verified == 1 && $0.denied == 0 }.count == 4)
  }

  @Test("what it counts is what a dictionary would, of thousands of names that differ little")
  func model() {
    var random = SeededGenerator(seed: 5)
    let owned = OwnedRegion(slotCount: 4_096)
    var model: [String: Int] = [:]
    for _ in 0..<20_000 {
      let (key, length) = (Int.random(in: 0..<20, using: &random), Int.random(in: 0...40, using: &random))
      let endpoint = String(repeating: "e", count: length) + (Bool.random(using: &random) ? "1" : "2")
      #expect(owned.count(key, endpoint, at: noon))
      model["\(UUID.numbered(key).text) \(endpoint)", default: 0] += 1
    }
    let counters = owned.counters
    #expect(
      Dictionary(uniqueKeysWithValues: counters.map { ("\($0.keyID.text) \($0.endpoint)", $0.verified) }) == model)
  }

  @Test("where there is no room for another name, or its endpoint, those that are there are counted further")
  func full() {
    let slots = OwnedRegion(slotCount: 64)
    #expect((0..<64).map { slots.count($0, "/") }.count { $0 } == 48)
    #expect(slots.count(0, "/") && slots.count(47, "/"))
    #expect(slots.counters.reduce(0) { $0 + $1.verified } == 50)
    let bytes = OwnedRegion(slotCount: 64)
    let long = String(repeating: "x", count: 200)
    #expect((0..<48).map { bytes.count($0, long) }.count { $0 } == 64 * UsageRegion.endpointBytesPerSlot / 200)
    #expect(bytes.count(0, long) && bytes.count(20, "/short"))
  }

  @Test("a slot that a power cut has torn is told from a good one, whatever byte of its name is wrong; none crashes it")
  func torn() throws {
    let owned = OwnedRegion(slotCount: 64)
    #expect(owned.count(3, "GET /things", at: noon))
    let slot = try #require((64..<64 * 65).first { owned.bytes[$0] != 0 })
    let start = slot / 64 * 64
    for offset in Array(0..<48) + [60, 61] {
      let byte = owned.bytes[start + offset]
      owned.bytes[start + offset] = byte ^ 0x5A
      var found: [UsageCounter] = []
      let damaged = owned.region.read { found.append($0) }
      #expect(found.isEmpty && damaged == 1, "byte \(offset)")
      owned.bytes[start + offset] = byte
    }
    #expect(owned.counters.count == 1)
  }

  @Test("random bytes are read without a crash")
  func randomBytes() {
    var random = SeededGenerator(seed: 9)
    for _ in 0..<50 {
      let owned = OwnedRegion(slotCount: 64)
      for index in owned.bytes.indices where Int.random(in: 0..<3, using: &random) == 0 {
        owned.bytes[index] = UInt8.random(in: 0...255, using: &random)
      }
      var count = 0
      let damaged = owned.region.read { _ in count += 1 }
      #expect(count + damaged <= 64)
    }
  }
}
