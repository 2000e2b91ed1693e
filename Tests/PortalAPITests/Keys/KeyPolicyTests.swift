import Foundation
import JSON
import PortalAPI
import PortalHTTP
import PortalTesting
import Testing

@Suite("GET and PUT /v1/account/policy")
struct KeyPolicyTests {
  private static let members = [
    "expiryRequired", "maxLifetimeDays", "allowlistRequired", "allowedScopes", "disableAfterIdleDays",
  ]

  @Test("there is no policy at first; PUT replaces the whole policy, and omitted rules do not apply")
  func put() async throws {
    try await withPortal { portal in
      let customer = try await portal.signUp()
      let nothing = try await customer.get("/v1/account/policy")
      #expect(nothing.status == 200 && nothing.body.names == Self.members)
      #expect(
        nothing.body
          == .object([
            ("expiryRequired", .bool(false)), ("maxLifetimeDays", .null), ("allowlistRequired", .bool(false)),
            ("allowedScopes", .null), ("disableAfterIdleDays", .null),
          ]))
      let strict = try await customer.put(
        "/v1/account/policy",
        """
        {"expiryRequired":true,"maxLifetimeDays":90,"allowlistRequired":true,"allowedScopes":["a:*","b"],
         "disableAfterIdleDays":30}
        """)
      #expect(strict.status == 200 && strict.body["maxLifetimeDays"].integer == 90)
      #expect(try await customer.get("/v1/account/policy").body == strict.body)
      #expect(try await portal.signUp("eve@example.com").get("/v1/account/policy").body == nothing.body)
      #expect(try await customer.put("/v1/account/policy", "{}").body == nothing.body)
      #expect(try await customer.get("/v1/audit").body["events"][0]["action"].string == "account.policy_changed")
    }
  }

  @Test("creating, changing, enabling or rolling a key against the policy is policy_violation, with all problems")
  func enforced() async throws {
    try await withPortal { portal in
      let customer = try await portal.signUp()
      let old = try await customer.createKey().id
      _ = try await customer.patch("/v1/keys/" + old, #"{"enabled":false}"#)
      let policy = #"{"expiryRequired":true,"maxLifetimeDays":2,"allowlistRequired":true,"allowedScopes":["a:*"]}"#
      #expect(try await customer.put("/v1/account/policy", policy).status == 200)
      let rows = try await portal.rowCount()

      let bare = try await customer.post("/v1/keys", #"{"name":"n","scopes":["a:b","c","d"]}"#)
      expectProblem(bare, 403, "policy_violation")
      #expect(bare.locations == ["body.scopes[1]", "body.scopes[2]", "body.expiresAt", "body.allowedIPs"])
      let late = try await customer.post(
        "/v1/keys", #"{"name":"n","scopes":["a:b"],"allowedIPs":["::1"],"expiresAt":"2099-01-01T00:00:00Z"}"#)
      expectProblem(late, 403, "policy_violation", at: "body.expiresAt")

      // An older key lists its violations of the policy; a change must follow the policy in the fields that it changes.
      let key = try await customer.get("/v1/keys/" + old).body
      #expect(
        key["policyViolations"].array.compactMap { $0["location"].string } == ["scopes[0]", "expiresAt", "allowedIPs"])
      for violation in key["policyViolations"].array { #expect(violation.names == ["location", "message"]) }
      for (body, location) in [
        (#"{"scopes":["x"]}"#, "body.scopes[0]"), (#"{"expiresAt":"2099-01-01T00:00:00Z"}"#, "body.expiresAt"),
        (#"{"enabled":true}"#, "body.allowedIPs"),
      ] {
        expectProblem(
          try await customer.patch("/v1/keys/" + old, body), 403, "policy_violation", at: location, "\(body)")
      }
      #expect(try await portal.rowCount() == rows)
      let tomorrow = Timestamp.text(of: Date().addingTimeInterval(86_400))
      let good = "\"scopes\":[\"a:b\"],\"allowedIPs\":[\"::1\"],\"expiresAt\":\"\(tomorrow)\""
      #expect(try await customer.patch("/v1/keys/" + old, #"{"name":"renamed"}"#).status == 200)
      let fixed = try await customer.patch("/v1/keys/" + old, "{\(good),\"enabled\":true}")
      #expect(fixed.status == 200 && fixed.body["policyViolations"] == .array([]))
      expectProblem(
        try await customer.patch("/v1/keys/" + old, #"{"allowedIPs":null}"#), 403, "policy_violation",
        at: "body.allowedIPs")
      #expect(try await customer.post("/v1/keys", "{\"name\":\"n\",\(good)}").status == 201)

      #expect(
        try await customer.put("/v1/account/policy", #"{"allowedScopes":["z"]}"#).status == 200)
      expectProblem(
        try await customer.post("/v1/keys/\(old)/roll"), 403, "policy_violation", at: "key.scopes[0]")
      _ = try await customer.delete("/v1/keys/" + old)
      #expect(try await customer.get("/v1/keys/" + old).body["policyViolations"] == .array([]))
    }
  }

  @Test("a viewer can read the policy, but not change it; invalid values are refused with their location")
  func refused() async throws {
    try await withPortal { portal in
      let customer = try await portal.signUp()
      let rows = try await portal.rowCount()
      for (body, location) in [
        (#"{"expiryRequired":"yes"}"#, "body.expiryRequired"), (#"{"maxLifetimeDays":0}"#, "body.maxLifetimeDays"),
        (#"{"maxLifetimeDays":36501}"#, "body.maxLifetimeDays"), (#"{"maxLifetimeDays":1.5}"#, "body.maxLifetimeDays"),
        (#"{"allowlistRequired":1}"#, "body.allowlistRequired"), (#"{"allowedScopes":[]}"#, "body.allowedScopes"),
        (#"{"allowedScopes":["a","B"]}"#, "body.allowedScopes[1]"), (#"{"allowedScopes":"*"}"#, "body.allowedScopes"),
        (#"{"disableAfterIdleDays":3651}"#, "body.disableAfterIdleDays"), (#"{"expiry":true}"#, "body.expiry"),
        ("[]", "body"),
      ] {
        expectProblem(
          try await customer.put("/v1/account/policy", body), 400, "invalid_request", at: location, "\(body)")
      }
      try await customer.becomeViewer()
      expectProblem(
        try await customer.put("/v1/account/policy", #"{"expiryRequired":true}"#), 403, "forbidden")
      #expect(try await customer.get("/v1/account/policy").status == 200)
      #expect(try await portal.rowCount() == rows)
    }
  }
}
