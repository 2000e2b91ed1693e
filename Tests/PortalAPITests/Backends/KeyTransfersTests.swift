import Foundation
import JSON
import Portal
import PortalAPI
import PortalApplication
import PortalHTTP
import PortalTesting
import Testing

@Suite("/v1/keys/import and /v1/keys/export")
struct KeyTransfersTests {
  /// SHA-512 of `sk_a_b`.
  private func hash(_ text: String) -> String {
    let bytes = ImportForm(.sha512).hash(of: Secret(presented: text), nil) ?? []
    return ImportedHash(form: ImportForm(.sha512), bytes: bytes).hex
  }

  /// A row with these members in place of the usual ones, each as JSON.
  private func row(_ text: String, _ changes: [String: String] = [:]) -> String {
    let usual = [
      "externalId": #""cus_1""#, "name": #""n""#, "scopes": #"["a"]"#, "algorithm": #""sha512""#,
      "hash": "\"\(hash(text))\"",
    ]
    let members = usual.merging(changes) { $1 }.map { "\"\($0.key)\":\($0.value)" }
    return "{" + members.joined(separator: ",") + "}"
  }

  private func token(_ portal: TestPortal) async throws -> String {
    try await portal.makeToken([.importKeys, .exportKeys, .verifyKeys, .writeKeys])
  }

  @Test("imported keys get the same verdicts from memory and on the ordinary route", arguments: [true, false])
  func verdicts(_ hasFastPath: Bool) async throws {
    try await withPortal(.live, configure: { $0.hasFastPath = hasFastPath }) { portal in
      let token = try await token(portal)
      let rows = [row("sk_a_b"), row("lk_live_c", ["enabled": "false"])].joined(separator: ",")
      let answer = try await portal.post("/v1/keys/import", "{\"keys\":[\(rows)]}", token: token)
      #expect(answer.status == 200 && answer.body.names == ["imported", "existing", "keys", "propagation"])
      #expect(answer.body["imported"] == .number("2") && answer.body["existing"] == .number("0"))
      let ids = answer.body["keys"].array.compactMap { $0["id"].string }
      for _ in 1...3 {
        let valid = try await portal.verify("sk_a_b", token: token, #","scope":"a""#)
        #expect(valid.body["code"].string == "VALID" && valid.body["keyId"].string == ids[0])
        #expect(try await portal.verify("lk_live_c", token: token).body["code"].string == "DISABLED")
        #expect(try await portal.verify("sk_a_c", token: token).body["code"].string == "NOT_FOUND")
        let batch = try await portal.post(
          "/v1/verify/batch", #"{"requests":[{"key":"sk_a_b"},{"key":"lk_live_d"},{"key":"lk_live_c"}]}"#, token: token)
        #expect(
          batch.body["results"].array.compactMap { $0["code"].string } == ["VALID", "NOT_FOUND", "DISABLED"])
        let authorized = try await portal.get(
          "/v1/authorize", headers: ["X-Latchkey-Token": token, "X-API-Key": "sk_a_b"])
        #expect(authorized.status == 200 && authorized.header("X-Latchkey-Key-Id") == ids[0])
      }
      let account = try #require(answer.body["keys"][0]["accountId"].string)
      _ = try await portal.delete("/v1/accounts/\(account)/keys/\(ids[0])", token: token)
      #expect(try await portal.verify("sk_a_b", token: token).body["code"].string == "REVOKED")
      let again = try await portal.post("/v1/keys/import", "{\"keys\":[\(rows)]}", token: token)
      #expect(again.body["imported"] == .number("0") && again.body["existing"] == .number("2"))
    }
  }

  @Test("each problem of a row is at its place, and nothing is imported")
  func problems() async throws {
    try await withPortal { portal in
      let token = try await token(portal)
      for (name, value, place) in [
        ("algorithm", #""md5""#, "algorithm"), ("hash", #""00""#, "hash"), ("encoding", #""base64""#, "hash"),
        ("part", #""short""#, "part"), ("salted", "true", "salted"), ("start", #""\u00e9""#, "start"),
        ("accountId", #""018f4e6a-0000-7000-8000-000000000000""#, "accountId"), ("scopes", #"["A"]"#, "scopes[0]"),
        ("revokedAt", "null", "revokedAt"), ("apiId", #""nobody""#, "apiId"),
        ("resources", #"{"p:1":["a"]}"#, "resources"), ("credits", #"{"remaining":5}"#, "credits"),
      ] {
        let body = "{\"keys\":[\(row("sk_a_a")),\(row("sk_a_b", [name: value]))]}"
        let answer = try await portal.post("/v1/keys/import", body, token: token)
        expectProblem(answer, 400, "invalid_request", at: "body.keys[1].\(place)", "\(name)")
      }
      for body in ["{}", #"{"keys":[]}"#, #"{"keys":[1]}"#] {
        #expect(try await portal.post("/v1/keys/import", body, token: token).status == 400)
      }
      #expect(try await portal.text("/v1/keys/export", token: token).text.isEmpty)
    }
  }

  @Test("an export is one JSON object per line, and has hashes but no key")
  func export() async throws {
    try await withPortal { portal in
      let token = try await token(portal)
      let customer = try await portal.signUp()
      let made = try await customer.createKey()
      _ = try await portal.post("/v1/keys/import", "{\"keys\":[\(row("sk_a_b"))]}", token: token)
      let text = try await portal.text("/v1/keys/export", token: token).text
      let lines = try text.split(separator: "\n").map { try JSONParser.parse(Array($0.utf8)) }
      #expect(lines.count == 2 && !text.contains(made.key))
      #expect(lines[0]["id"].string == made.id && lines[0]["externalId"] == .null)
      #expect(lines[1]["hash"].string == hash("sk_a_b") && lines[1]["algorithm"].string == "sha512")
      #expect(lines[1]["start"] == .null && lines[1]["externalId"].string == "cus_1")
    }
  }
}
