import Foundation
import JSON
import Portal
import PortalAPI
import PortalHTTP
import PortalTesting
import Postgres
import Testing

private struct PermissionEvents: PostgresStatement {
  typealias Row = String
  static let sql = """
    select concat_ws(' ', actor_kind, action, reason, ticket, detail) from audit_events
    where action like 'permission.%' order by seq
    """
}

@Suite("/v1/apis, /v1/permissions and /v1/roles")
struct CatalogRoutesTests {
  private static let permissions: [ServiceToken.Permission] = [.readCatalog, .writeCatalog]

  @Test("an api is created, read by id and by slug, changed, and deleted")
  func apis() async throws {
    try await withPortal { portal in
      let token = try await portal.makeToken(Self.permissions)
      let made = try await portal.post(
        "/v1/apis", #"{"slug":"orders","name":" Orders ","keyPrefix":"ord","keyBytes":16,"isProtected":true}"#,
        token: token)
      #expect(made.status == 201 && made.body.names == Contract.api)
      #expect(made.body["id"].isID && made.body["createdAt"].isTime && made.body["name"].string == "Orders")
      let id = try #require(made.body["id"].string)
      #expect(made.header("Location") == "/v1/apis/" + id)
      for reference in [id, id.uppercased(), "orders", "%6frders"] {
        #expect(try await portal.get("/v1/apis/" + reference, token: token).body == made.body, "\(reference)")
      }
      let taken = try await portal.post("/v1/apis", #"{"slug":"orders","name":"x"}"#, token: token)
      expectProblem(taken, 409, "name_taken")
      expectProblem(try await portal.delete("/v1/apis/orders", token: token), 409, "protected")
      let changed = try await portal.patch(
        "/v1/apis/orders", #"{"slug":"shop","keyPrefix":null,"isProtected":false}"#, token: token)
      #expect(changed.status == 200 && changed.body.names == Contract.api + ["propagation"])
      #expect(changed.body["slug"].string == "shop" && changed.body["keyPrefix"] == .null)
      #expect(changed.body["keyBytes"].integer == 16)
      expectProblem(try await portal.get("/v1/apis/orders", token: token), 404, "not_found")
      let list = try await portal.get("/v1/apis", token: token)
      #expect(list.body.names == ["apis", "nextCursor"])
      #expect(list.body["apis"].array.map { $0["slug"].string } == ["shop"])
      let deleted = try await portal.delete("/v1/apis/shop", token: token)
      #expect(deleted.status == 204 && deleted.body == .null)
      expectProblem(try await portal.delete("/v1/apis/\(id)", token: token), 404, "not_found")
    }
  }

  @Test("an api shows its endpoint limits, the most specific first, and problems with them have their places")
  func endpointLimits() async throws {
    try await withPortal { portal in
      let token = try await portal.makeToken(Self.permissions)
      let limits = #"""
        [{"endpoint":"*","limit":60,"windowMilliseconds":60000},
        {"endpoint":"GET /é/*","limit":5,"windowMilliseconds":1500,
        "roles":{"pro":{"limit":50,"windowMilliseconds":1000},
        "a":{"limit":6,"windowMilliseconds":316224000000}}}]
        """#
      let made = try await portal.post(
        "/v1/apis", #"{"slug":"orders","name":"Orders","endpointLimits":\#(limits)}"#, token: token)
      #expect(made.status == 201 && made.body.names == Contract.api)
      let shown = #"""
        [{"endpoint":"GET /é/*","limit":5,"windowMilliseconds":1500,\#
        "roles":{"a":{"limit":6,"windowMilliseconds":316224000000},"pro":{"limit":50,"windowMilliseconds":1000}}},\#
        {"endpoint":"*","limit":60,"windowMilliseconds":60000,"roles":{}}]
        """#
      #expect(JSONWriter.text(of: made.body["endpointLimits"]) == shown)
      #expect(try await portal.get("/v1/apis/orders", token: token).body == made.body)
      let same = try await portal.patch("/v1/apis/orders", #"{"endpointLimits":\#(shown)}"#, token: token)
      #expect(same.status == 200 && same.body["endpointLimits"] == made.body["endpointLimits"])
      let none = try await portal.patch("/v1/apis/orders", #"{"endpointLimits":[]}"#, token: token)
      #expect(none.body["endpointLimits"] == .array([]))
      let one = #"{"endpoint":"a","limit":1,"windowMilliseconds":1000"#
      let many = (1...101).map { #"{"endpoint":"\#($0)","limit":1,"windowMilliseconds":1000}"# }
      let large = (1...100).map { number in
        let limit = #"{"limit":1,"windowMilliseconds":1000}"#
        let roles = (10...24).map { #""a-role-whose-name-has-forty-characters-\#($0)":\#(limit)"# }
          .joined(separator: ",")
        return #"{"endpoint":"\#(number)","limit":1,"windowMilliseconds":1000,"roles":{\#(roles)}}"#
      }
      for (invalid, places) in [
        ("[{}]", ["[0].endpoint", "[0].limit", "[0].windowMilliseconds"]),
        (#"[{"endpoint":"a","limit":0,"windowMilliseconds":999}]"#, ["[0].limit", "[0].windowMilliseconds"]),
        (#"[{"endpoint":"","limit":1,"windowMilliseconds":1000}]"#, ["[0].endpoint"]),
        (#"[{"endpoint":"***********","limit":1,"windowMilliseconds":1000}]"#, ["[0].endpoint"]),
        (#"[{"endpoint":"\u0007","limit":1,"windowMilliseconds":1000}]"#, ["[0].endpoint"]),
        (
          #"[\#(one)},\#(one)}]"#,
          ["[1].endpoint"]
        ),
        (#"[{"endpoint":"a","limit":1,"windowMilliseconds":1000,"roles":[]}]"#, ["[0].roles"]),
        (#"[{"endpoint":"a","limit":1,"windowMilliseconds":1000,"roles":{"pro":1}}]"#, ["[0].roles.pro"]),
        (
          #"[{"endpoint":"a","limit":1,"windowMilliseconds":1000,"roles":{"pro":{"limit":1}}}]"#,
          ["[0].roles.pro.windowMilliseconds"]
        ),
        (
          #"[\#(one),"roles":{"a b":{"limit":1,"windowMilliseconds":1000}}}]"#,
          ["[0].roles.a b"]
        ),
        ("[" + many.joined(separator: ",") + "]", [""]), ("[" + large.joined(separator: ",") + "]", [""]),
      ] {
        let answer = try await portal.patch("/v1/apis/orders", #"{"endpointLimits":\#(invalid)}"#, token: token)
        #expect(answer.status == 400 && answer.code == "invalid_request")
        #expect(
          answer.body["errors"].array.map { $0["location"].string } == places.map { "body.endpointLimits" + $0 },
          "\(invalid.prefix(100))")
      }
      expectProblem(
        try await portal.patch("/v1/apis/orders", #"{"endpointLimits":null}"#, token: token), 400, "invalid_request")
    }
  }

  @Test("a role has the permissions that it is given, by slug or by id, sorted; what is used is not deleted")
  func roles() async throws {
    try await withPortal { portal in
      let token = try await portal.makeToken(Self.permissions)
      var ids: [String] = []
      for slug in ["b", "a", "documents:*"] {
        let made = try await portal.post("/v1/permissions", #"{"slug":"\#(slug)"}"#, token: token)
        #expect(made.status == 201 && made.body.names == Contract.permission)
        ids.append(try #require(made.body["id"].string))
      }
      let role = try await portal.post(
        "/v1/roles", #"{"name":"pro","description":"For some.","permissions":["b","\#(ids[1])","b"]}"#, token: token)
      #expect(role.status == 201 && role.body.names == Contract.role)
      #expect(role.body["permissions"].array == [.string("a"), .string("b")])
      let unknown = try await portal.patch("/v1/roles/pro", #"{"permissions":["a","nonsense"]}"#, token: token)
      expectProblem(unknown, 400, "invalid_request", at: "body.permissions[1]")
      let changed = try await portal.patch("/v1/roles/pro", #"{"permissions":["documents:*"]}"#, token: token)
      #expect(changed.body["permissions"].array == [.string("documents:*")])
      #expect(changed.body["description"].string == "For some.")
      expectProblem(try await portal.delete("/v1/permissions/documents:%2A", token: token), 409, "in_use")
      #expect(try await portal.delete("/v1/permissions/a", token: token).status == 204)
      #expect(try await portal.delete("/v1/roles/pro", token: token).status == 204)
      #expect(try await portal.delete("/v1/permissions/documents:*", token: token).status == 204)
    }
  }

  @Test("staff must state a reason, and a service token may; it is in the system's trail with the actor")
  func reasons() async throws {
    try await withPortal { portal in
      let admin = try await portal.logInStaff(role: .admin)
      let token = try await portal.makeToken(Self.permissions)
      let rows = try await portal.rowCount()
      expectProblem(
        try await portal.post("/v1/permissions", #"{"slug":"a"}"#, token: admin), 400, "invalid_request",
        at: "body.reason")
      expectProblem(
        try await portal.post("/v1/permissions", #"{"slug":"a","ticket":"T-1"}"#, token: token), 400, "invalid_request",
        at: "body.reason")
      #expect(try await portal.rowCount() == rows)
      let body = #"{"slug":"a","reason":"asked for it","ticket":"T-1"}"#
      #expect(try await portal.post("/v1/permissions", body, token: admin).status == 201)
      expectProblem(
        try await portal.delete("/v1/permissions/a", token: admin), 400, "invalid_request", at: "body.reason")
      #expect(try await portal.delete("/v1/permissions/a", token: token).status == 204)
      #expect(
        try await portal.pool.query(PermissionEvents()) == [
          "staff permission.created asked for it T-1 a", "token permission.deleted a",
        ])
    }
  }

  @Test("invalid values are refused with their location, and nothing is changed")
  func refused() async throws {
    try await withPortal { portal in
      let token = try await portal.makeToken(Self.permissions)
      let rows = try await portal.rowCount()
      for (path, body, location) in [
        ("apis", #"{"name":"x"}"#, "body.slug"), ("apis", #"{"slug":"a/b","name":"x"}"#, "body.slug"),
        ("apis", #"{"slug":"OR","name":"x"}"#, "body.slug"), ("apis", #"{"slug":"a","name":" "}"#, "body.name"),
        ("apis", #"{"slug":"01980e60-1111-7a2b-8c3d-4e5f6a7b8c9d","name":"x"}"#, "body.slug"),
        ("apis", #"{"slug":"a","name":"x","keyPrefix":"A"}"#, "body.keyPrefix"),
        ("apis", #"{"slug":"a","name":"x","keyBytes":15}"#, "body.keyBytes"),
        ("apis", #"{"slug":"a","name":"x","keyBytes":256}"#, "body.keyBytes"),
        ("apis", #"{"slug":"a","name":"x","isProtected":1}"#, "body.isProtected"),
        ("permissions", #"{"slug":"a b"}"#, "body.slug"),
        ("permissions", #"{"slug":"a","description":1}"#, "body.description"),
        ("roles", #"{"name":""}"#, "body.name"),
        ("roles", #"{"name":"a","permissions":["a b"]}"#, "body.permissions[0]"),
        ("roles", #"{"name":"a","permissions":["a"]}"#, "body.permissions[0]"),
        ("roles", #"{"name":"a","more":1}"#, "body.more"),
      ] {
        let answer = try await portal.post("/v1/" + path, body, token: token)
        expectProblem(answer, 400, "invalid_request", at: location, "\(path) \(body)")
      }
      for reference in ["a%20b", "%ff", "%00", "nonsense", String(repeating: "x", count: 400)] {
        for path in ["apis", "permissions", "roles"] {
          let answer = try await portal.patch("/v1/\(path)/\(reference)", "{}", token: token)
          expectProblem(answer, 404, "not_found", "\(path) \(reference)")
        }
      }
      #expect(try await portal.rowCount() == rows)
    }
  }
}
