import Foundation
import Postgres
import Testing

@testable import Portal

@Suite("IdempotentRequest")
struct IdempotentRequestTests {
  private let account = UUID.version7()
  private let holder = Secret.random(prefix: "lk_session")

  private func request(
    _ key: String, _ text: String = "POST", _ accountID: UUID? = nil, holder: Secret? = nil
  ) -> IdempotentRequest? {
    IdempotentRequest(
      key: key, request: text.utf8, accountID: accountID ?? account, holder: holder ?? self.holder)
  }

  @Test("a key has 1 to 255 printable ASCII characters")
  func keys() {
    for key in [
      "a", " ", "~", "8f14e45f-ceea-467f-9575-0242ac120002", "\"quoted\"", String(repeating: "x", count: 255),
    ] {
      #expect(request(key) != nil, "\(key)")
    }
    for key in ["", "a\tb", "a\nb", "\u{7F}", "\0", "ключ", "é", String(repeating: "x", count: 256)] {
      #expect(request(key) == nil, "\(key)")
    }
  }

  @Test("only the same holder with the same idempotency key can open a sealed secret, and only for the same API key")
  func seal() throws {
    let (secret, keyID) = (Secret.random(prefix: "lk_live"), UUID.version7())
    let own = try #require(request("once"))
    let sealed = try own.seal(secret, of: keyID)
    #expect(request("once")?.open(sealed, of: keyID)?.reveal() == secret.reveal())
    // The content of the request is not part of the key: it is compared before.
    #expect(request("once", "other")?.open(sealed, of: keyID)?.reveal() == secret.reveal())
    #expect(request("twice")?.open(sealed, of: keyID) == nil)
    #expect(request("once", holder: .random(prefix: "lk_session"))?.open(sealed, of: keyID) == nil)
    #expect(request("once", "POST", .version7())?.open(sealed, of: keyID) == nil)
    #expect(own.open(sealed, of: .version7()) == nil)
    for index in sealed.indices {
      var changed = sealed
      changed[index] ^= 1
      #expect(own.open(changed, of: keyID) == nil)
    }
    for count in [0, 1, 27, 28, sealed.count - 1] { #expect(own.open(Array(sealed.prefix(count)), of: keyID) == nil) }
  }

  @Test("a stored answer with too few objects throws a decoding error")
  func objects() throws {
    for count in 0...3 {
      let answer = FirstAnswer(objects: Array(repeating: "{}", count: count), newID: .version7(), secret: nil)
      #expect(try answer.objects(atLeast: count).count == count)
      let error = #expect(throws: PostgresError.self) { try answer.objects(atLeast: count + 1) }
      #expect(error?.code == .decoding)
    }
  }

  @Test("sealing the same secret gives a different text each time, and the holder's hash does not open it")
  func fresh() throws {
    let (secret, keyID) = (Secret.random(prefix: "lk_live"), UUID.version7())
    let own = try #require(request("once"))
    #expect(try own.seal(secret, of: keyID) != own.seal(secret, of: keyID))
    let hash = Secret(presented: String(decoding: holder.hash.bytes, as: UTF8.self))
    #expect(request("once", holder: hash)?.open(try own.seal(secret, of: keyID), of: keyID) == nil)
  }
}
