import Foundation
import JSON
import PostgresTesting
import Testing

@testable import Portal

/// A region with its own memory.
private final class OwnedRegion {
  let region: UsageRegion
  let bytes: UnsafeMutableRawBufferPointer

  init(slotCount: Int) {
    bytes = .allocate(byteCount: UsageRegion.byteCount(slotCount: slotCount), alignment: 64)
    bytes.initializeMemory(as: UInt8.self, repeating: 0)
    region = UsageRegion(at: bytes.baseAddress!, slotCount: slotCount, seed: 7)
  }

  deinit { bytes.deallocate() }

  /// Counts under an unchecked name; false if there is no room.
  func count(named endpoint: [UInt8], hour: Int = 480_012, lastUsed: Int = 5) -> Bool {
    endpoint.withUnsafeBufferPointer { bytes in
      region.insert(
        UsageRegion.Name(accountID: .numbered(100), keyID: .numbered(1), hour: hour, endpoint: bytes), isValid: true,
        at: hour * UsageCounter.millisecondsPerHour + lastUsed)
    }
  }

  /// Counts a verdict; false if there is no room.
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

  @Test("verdicts are counted by key, hour and endpoint, valid and denied separately, with the last use")
  func counting() {
    let owned = OwnedRegion(slotCount: 64)
    for (isValid, offset) in [(true, 5), (true, 3), (false, 9), (false, 8), (true, 2)] {
      #expect(owned.count(1, "GET /things", isValid: isValid, at: noon + offset))
    }
    for (key, endpoint, hour) in [(1, "GET /other", 0), (2, "GET /things", 0), (1, "GET /things", 1), (1, "x", 0)] {
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

  @Test("a region counts thousands of similar names as a dictionary would")
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

  @Test("without room for another name or its bytes, existing counters still count")
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

  @Test("a slot torn by a power failure is detected whichever byte of its name is wrong")
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

  @Test(
    "names that the database would refuse are left out of intact slots: empty, not UTF-8, with U+0000, too long",
    arguments: [
      [], [0], Array("a\u{0}b".utf8), [0xFF], [0xC3], [0xED, 0xA0, 0x80], [0xF4, 0x90, 0x80, 0x80], [0xC0, 0x80],
      Array(repeating: UInt8(ascii: "x"), count: 201), Array(String(repeating: "ü", count: 201).utf8),
    ] as [[UInt8]])
  func refusedNames(_ endpoint: [UInt8]) {
    let owned = OwnedRegion(slotCount: 64)
    #expect(owned.count(named: endpoint) && owned.count(named: Array(String(repeating: "ü", count: 200).utf8)))
    var found: [UsageCounter] = []
    #expect(owned.region.read { found.append($0) } == 1)
    #expect(found.map(\.endpoint) == [String(repeating: "ü", count: 200)])
  }

  @Test("an impossible count, or a last use outside its hour, is left out even if the slot is intact")
  func refusedCounts() {
    // The last bytes of both counts and of the last use.
    for offset in [51, 55, 59] {
      let owned = OwnedRegion(slotCount: 64)
      #expect(owned.count(named: Array("a".utf8)))
      for slot in stride(from: 64, to: 64 * 65, by: 64) where owned.bytes[slot] != 0 {
        owned.bytes[slot + offset] = 0x80
      }
      #expect(owned.region.read { _ in Issue.record("a damaged slot was counted") } == 1)
    }
  }

  @Test("an impossible hour is left out")
  func refusedHours() {
    let hours = OwnedRegion(slotCount: 64)
    for (place, hour) in [UsageCounter.hourMax, UsageCounter.hourMax + 1, Int(UInt32.max)].enumerated() {
      #expect(hours.count(named: [UInt8(ascii: "a") + UInt8(place)], hour: hour))
    }
    var found: [UsageCounter] = []
    #expect(hours.region.read { found.append($0) } == 2)
    #expect(found.map(\.hour) == [UsageCounter.hourMax])
  }

  @Test("counting stays within the bounds of a region, whatever its header claims")
  func lyingHead() {
    for byte in 0..<8 {
      for value: UInt8 in [0x01, 0x7F, 0x80, 0xFF] {
        let owned = OwnedRegion(slotCount: 64)
        for key in 0..<10 { #expect(owned.count(key, "/things/of/\(key)x")) }
        owned.bytes[byte] = value
        #expect((0...64).contains(owned.region.takenCount))
        for key in 0..<200 { _ = owned.count(key, "/more/than/there/is/room/for/\(key)x") }
        for key in 0..<10 { #expect(owned.count(key, "/things/of/\(key)x") || byte >= 4) }
      }
    }
  }

  @Test("a name too long for the length field of a slot is refused")
  func hugeName() {
    let owned = OwnedRegion(slotCount: 4_096)
    #expect(!owned.count(named: Array(repeating: UInt8(ascii: "x"), count: 65_536)))
    #expect(owned.count(named: Array(repeating: UInt8(ascii: "x"), count: 65_535)))
  }

  @Test("reading random bytes does not crash")
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
