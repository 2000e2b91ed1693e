import PortalAPI
import PortalHTTP
import PortalTesting
import Testing

@Suite("GET /v1/keys/{id}")
struct GetKeyTests {
  @Test("an owner and a viewer can read the key, by its id in either case")
  func found() async throws {
    try await withPortal { portal in
      let customer = try await portal.signUp()
      let id = try await customer.createKey().id
      let answer = try await customer.get("/v1/keys/" + id)
      #expect(answer.status == 200)
      expectKey(answer.body)
      #expect(answer.body["id"].string == id)
      try await customer.becomeViewer()
      #expect(try await customer.get("/v1/keys/" + id.uppercased()).body["id"].string == id)
    }
  }

  @Test("an invalid or unknown id is not_found")
  func missing() async throws {
    try await withPortal { portal in
      let customer = try await portal.signUp()
      let id = try await customer.createKey().id
      for wrong in [
        "018f4e6a-0000-7000-8000-000000000000", "1", "abc", "null", "%00", "..", id + "x", String(id.dropLast()),
        "{\(id)}", id.replacing("-", with: ""), "%20" + id, "-1", String(repeating: "a", count: 5_000),
      ] {
        expectProblem(try await customer.get("/v1/keys/" + wrong), 404, "not_found", "\(wrong)")
        expectProblem(try await customer.delete("/v1/keys/" + wrong), 404, "not_found", "\(wrong)")
        expectProblem(try await customer.post("/v1/keys/\(wrong)/roll"), 404, "not_found", "\(wrong)")
        expectProblem(try await customer.get("/v1/keys/\(wrong)/usage"), 404, "not_found", "\(wrong)")
      }
      #expect(try await customer.get("/v1/keys/" + id).body["status"].string == "active")
    }
  }

  @Test("another tenant's key is not_found on every route, and stays unchanged")
  func otherTenant() async throws {
    try await withPortal { portal in
      let (ada, eve) = (try await portal.signUp(), try await portal.signUp("eve@example.com"))
      let id = try await ada.createKey().id
      let before = try await portal.rowCount()
      expectProblem(try await eve.get("/v1/keys/" + id), 404, "not_found")
      expectProblem(try await eve.delete("/v1/keys/" + id), 404, "not_found")
      expectProblem(try await eve.post("/v1/keys/\(id)/roll"), 404, "not_found")
      expectProblem(try await eve.post("/v1/keys/\(id)/roll", "{\"graceSeconds\":60}"), 404, "not_found")
      expectProblem(try await eve.get("/v1/keys/\(id)/usage"), 404, "not_found")
      #expect(try await eve.get("/v1/keys").body["keys"].array.isEmpty)
      #expect(try await portal.rowCount() == before)
      #expect(try await ada.get("/v1/keys/" + id).body["status"].string == "active")
    }
  }
}
