import Foundation
import PortalAPI
import PortalHTTP
import PortalTesting
import PostgresTesting

@testable import Portal

/// A person's authenticator app, with the secret of a second factor.
struct Authenticator {
  let factor: TOTP

  /// The secret is in base 32.
  init(_ secret: String) {
    let alphabet = Array("ABCDEFGHIJKLMNOPQRSTUVWXYZ234567")
    let bits = secret.flatMap { character -> [Int] in
      let value = alphabet.firstIndex(of: character) ?? 0
      return (0..<5).map { value >> (4 - $0) & 1 }
    }
    factor = TOTP(
      secret: stride(from: 0, to: bits.count - 7, by: 8).map { start in
        UInt8(bits[start..<start + 8].reduce(0) { $0 << 1 | $1 })
      })
  }

  var code: String { factor.code(atStep: TOTP.step(at: Date())) }
}

let secretBox = SecretBox(base64: Data(repeating: 7, count: 32).base64EncodedString())

extension TestPortal {
  /// Makes the steps of used codes, and the delays after failed attempts, count as long past.
  func letTimePass() async throws {
    try await script("update second_factors set last_step = 0; truncate attempt_counts")
  }

  /// Sets up a second factor for the owner of the token; `me` is `/v1/me` or `/v1/support/me`.
  func enrol(_ token: String, _ me: String = "/v1/me") async throws -> (Authenticator, codes: [String], token: String) {
    let started = try await post(me + "/second-factor", #"{"password":"correct horse battery"}"#, token: token)
    guard let secret = started.body["secret"].string else {
      throw TestSetupError(description: "starting answered \(started)")
    }
    let authenticator = Authenticator(secret)
    let confirmed = try await post(me + "/second-factor/confirm", "{\"code\":\"\(authenticator.code)\"}", token: token)
    guard let token = confirmed.body["token"].string else {
      throw TestSetupError(description: "confirming answered \(confirmed)")
    }
    try await letTimePass()
    return (authenticator, confirmed.body["recoveryCodes"].array.compactMap(\.string), token)
  }

  /// Lengthens delays by an hour, so that they still apply on a machine of any speed.
  func lengthenDelays() async throws {
    try await script(
      "update attempt_counts set blocked_until = blocked_until + interval '1 hour' where blocked_until > 'epoch'")
  }

  func deleteWithBody(_ path: String, _ json: String, token: String) async throws -> TestAnswer {
    try await request(
      "DELETE", path, bytes: Array(json.utf8), token: token, headers: ["Content-Type": "application/json"])
  }

  func logIn(_ email: String = "ada@example.com", _ more: String = "", password: String = "correct horse battery")
    async throws -> TestAnswer
  {
    try await post("/v1/login", "{\"email\":\"\(email)\",\"password\":\"\(password)\"\(more)}")
  }

  /// The actions in the customer's audit trail, newest first.
  func actions(_ token: String) async throws -> [String] {
    try await get("/v1/audit", token: token).body["events"].array.compactMap { $0["action"].string }
  }
}
