import Foundation
import PostgresTesting
import Testing

@testable import Portal

@Suite("EndpointName")
struct EndpointNameTests {
  @Test(
    "route patterns are unchanged, whatever notation a gateway uses",
    arguments: [
      "GET /v1/orders", "GET /v1/orders/{id}", "GET /v1/orders/:id", "POST /v2/a-b_c/d.e", "orders.list", "/", "",
      "other",
      "GET /decade/feedback/added", "/deadbeef", "/v1/2fa", "/list-all-of-the-2024-things", "/a_b_0123456789abcdefghij",
      "grüße /ü", "12345", "/averyveryveryverylongword", "/lk_live_averyveryveryverylongword",
      "/" + String(repeating: "a-b", count: 20), "GET //x//",
    ])
  func patterns(_ name: String) {
    #expect(EndpointName.normalized(name) == name)
  }

  @Test(
    "in a raw path, ids become {id} and the query is removed",
    arguments: [
      ("GET /orders/17", "GET /orders/{id}"), ("/1/2/3", "/{id}/{id}/{id}"), ("/a/0/", "/a/{id}/"),
      ("GET /u/3F2504E0-4F89-11D3-9A0C-0305E82C3301/x", "GET /u/{id}/x"), ("/c/deadbeef0", "/c/{id}"),
      ("/c/deadbeefdeadbeef", "/c/{id}"), ("/o/01ARZ3NDEKTSV4RRFFQ69G5FAV", "/o/{id}"),
      ("/o/ord_01ARZ3NDEKTSV4RRFFQ69G5FAV", "/o/{id}"), ("/a?b=1", "/a"), ("/a/1?b=/2", "/a/{id}"), ("/a#b/1", "/a"),
      ("/?", "/"), ("x?y /1", "x?y /{id}"),
      ("/k/lk_live_" + String(repeating: "k", count: 49), "/k/{id}"),
      ("/k/" + String(repeating: "k", count: 40) + "/x", "/k/{id}/x"),
    ])
  func rawPaths(_ raw: String, _ name: String) {
    #expect(EndpointName.normalized(raw) == name)
    #expect(EndpointName.normalized(name) == name, "normalizing again changes nothing")
  }

  @Test("normalizing yields at most 200 bytes or the original length, and is idempotent, for any input")
  func bounds() {
    #expect(EndpointName.normalized(String(repeating: "/1", count: 100)).utf8.count == 200)
    var random = SeededGenerator(seed: 4)
    let pieces = [
      "/", "1", "a", "f0", "é", "?", "#", "-", "_", "{id}", "3F2504E0-4F89-11D3-9A0C-0305E82C3301", "GET ", "x",
    ]
    for _ in 0..<20_000 {
      var text = ""
      for _ in 0..<Int.random(in: 0...12, using: &random) { text += pieces.randomElement(using: &random)! }
      let once = EndpointName.normalized(text)
      #expect(once.utf8.count <= max(200, text.utf8.count))
      #expect(EndpointName.normalized(once) == once, "\(text)")
    }
  }
}
