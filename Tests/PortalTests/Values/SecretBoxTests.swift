import Foundation
import Testing

@testable import Portal

@Suite("SecretBox")
struct SecretBoxTests {
  private let key = Data(repeating: 7, count: 32).base64EncodedString()

  @Test("previous keys open what they sealed and seal nothing new; at most four are allowed, and never the current key")
  func previousKeys() throws {
    let keys = (1...6).map { Data(repeating: $0, count: 32).base64EncodedString() }
    let (secret, owner) = (Array("secret".utf8), UUID())
    let boxes = try keys.map { try #require(SecretBox(base64: $0)) }
    let sealed = try boxes.map { try $0.seal(secret, for: owner) }
    let box = try #require(boxes[0].opening(previous: "\(keys[1]), \(keys[2])"))
    #expect(box.hasPrevious && !boxes[0].hasPrevious)
    for (index, age) in [SecretBox.Age.present, .previous, .previous].enumerated() {
      let opened = try #require(box.open(sealed[index], for: owner))
      #expect(opened.bytes == secret && opened.age == age)
      #expect(box.open(sealed[index], for: UUID()) == nil)
    }
    #expect(box.open(sealed[3], for: owner) == nil)
    let anew = try box.seal(secret, for: owner)
    #expect(boxes[0].open(anew, for: owner)?.bytes == secret && boxes[1].open(anew, for: owner) == nil)
    #expect(boxes[0].opening(previous: keys[1...4].joined(separator: ",")) != nil)
    for text in [keys[1...5].joined(separator: ","), keys[0], "", ",", "\(keys[1]),", "\(keys[1]),short", "short"] {
      #expect(boxes[0].opening(previous: text) == nil, "\(text)")
    }
  }

  @Test("only the same key opens a sealed secret, and only for the same owner; each sealing gives a different result")
  func sealed() throws {
    let box = try #require(SecretBox(base64: key))
    let (owner, secret) = (UUID(), Array("twenty bytes exactly".utf8))
    let sealed = try box.seal(secret, for: owner)
    #expect(sealed.count == 48 && !sealed.indices.contains { sealed[$0...].starts(with: secret.prefix(4)) })
    #expect(try box.seal(secret, for: owner) != sealed)
    #expect(box.open(sealed, for: owner)?.bytes == secret)
    #expect(box.open(sealed, for: UUID()) == nil)
    let other = try #require(SecretBox(base64: Data(repeating: 8, count: 32).base64EncodedString()))
    #expect(other.open(sealed, for: owner) == nil)
    for index in sealed.indices {
      var changed = sealed
      changed[index] ^= 1
      #expect(box.open(changed, for: owner) == nil)
    }
    for length in [0, 11, 27, 47] { #expect(box.open(Array(sealed.prefix(length)), for: owner) == nil) }
  }

  @Test("a key is 32 bytes in base 64")
  func keys() {
    for count in [0, 16, 31, 33, 64] {
      #expect(SecretBox(base64: Data(repeating: 1, count: count).base64EncodedString()) == nil)
    }
    for text in ["x", key + "!", String(repeating: "a", count: 32)] { #expect(SecretBox(base64: text) == nil) }
  }
}
