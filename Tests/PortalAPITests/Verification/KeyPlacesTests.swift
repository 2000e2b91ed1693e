import Foundation
import HTTPTypes
import JSON
import Portal
import PortalApplication
import PortalTesting
import PostgresTesting
import Testing

@testable import PortalAPI
@testable import PortalHTTP

@Suite("KEY_HEADERS")
struct KeyPlacesTests {
  private static let jwt = "eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiJhIn0.c2lnbmF0dXJl"

  private func key(_ fields: [(String, String)], _ places: KeyPlaces = .standard) throws -> String? {
    var headers: HTTPFields = [:]
    for (name, value) in fields { headers.append(HTTPField(name: try #require(.init(name)), value: value)) }
    let key = places.key(in: headers)?.reveal()
    // The fast path finds the same, or leaves it to the decoder.
    let request =
      "GET /v1/authorize HTTP/1.1\r\n" + fields.map { "\($0.0): \($0.1)\r\n" }.joined() + "\r\n"
    let bytes = Array(request.utf8)
    if case .complete(let plain) = PlainRequest.frame(bytes.span), !plain.fields.hasRepetition {
      switch places.key(in: plain, bytes.span) {
      case .key(let place): #expect(String(decoding: bytes[place], as: UTF8.self) == key, "\(fields)")
      case .none: #expect(key == nil, "\(fields)")
      case .unclear: break
      }
    }
    return key
  }

  @Test("the first place with a possible key counts; other values are skipped")
  func order() throws {
    let long = String(repeating: "k", count: 513)
    for (fields, expected) in [
      ([("X-API-Key", "a"), ("Authorization", "Bearer b")], "a"), ([("Authorization", "Bearer b")], "b"),
      ([("Authorization", "bEARER \t b \t")], "b"), ([("Authorization", "b")], "b"),
      ([("X-API-Key", "Bearer a")], "a"), ([("X-API-Key", "bearera")], "bearera"),
      ([("Authorization", "Bearer \(Self.jwt)"), ("X-API-Key", "a")], "a"),
      ([("X-API-Key", Self.jwt), ("Authorization", "Bearer b")], "b"),
      ([("Authorization", "Basic YTpi"), ("X-API-Key", " a ")], "a"),
      ([("X-API-Key", ""), ("Authorization", "b")], "b"),
      ([("X-API-Key", long), ("Authorization", "b")], "b"),
      ([("X-API-Key", String(long.dropLast()))], String(long.dropLast())),
      ([("X-API-Key", "a"), ("X-API-Key", "b"), ("Authorization", "c")], "c"), ([("X-API-Key", "a.b")], "a.b"),
      ([], nil), ([("Authorization", "Bearer")], nil), ([("Authorization", "Bearer ")], nil),
      ([("Authorization", "Basic YTpi")], nil), ([("Authorization", Self.jwt)], nil), ([("X-API-Key", long)], nil),
      ([("Authorization", "Bearer a.b.c.d.e")], nil), ([("Authorization", "Bearer a.b.")], nil),
      ([("X-API-Key", "\t ")], nil), ([("Cookie", "a=b"), ("X-Other", "a")], nil),
    ] as [([(String, String)], String?)] {
      #expect(try key(fields) == expected, "\(fields)")
    }
  }

  @Test("other fields can be configured, and a parameter of the original target, which is decoded")
  func named() throws {
    let places = try #require(KeyPlaces("query:api_key, X-Acme-Key ,AUTHORIZATION"))
    let uri = "X-Original-URI"
    for (fields, expected) in [
      ([(uri, "/a?api_key=q"), ("x-acme-key", "a")], "q"), ([(uri, "/a?b=c&api_key=q&d")], "q"),
      ([(uri, "/a?api%5Fkey=q"), ("X-ACME-KEY", "a")], "a"), ([(uri, "/a?api_key=q%5F%71#x")], "q_q"),
      ([(uri, "/a?api_key=%zz&b"), ("X-Acme-Key", "a")], "a"), ([(uri, "/a?api_key=%ff")], nil),
      ([(uri, "/a?api_key=q&api_key=r"), ("Authorization", "b")], "b"), ([(uri, "/a?api_key=")], nil),
      ([(uri, "/a?api_key")], nil), ([(uri, "/api_key=q")], nil), ([(uri, "/a?xapi_key=q")], nil),
      ([(uri, "/a#?api_key=q&"), ("X-Acme-Key", "a")], "q"),
      ([(uri, "?api_key=\(Self.jwt)"), ("X-Acme-Key", "a")], "a"),
      ([("X-API-Key", "a")], nil), ([("X-Acme-Keys", "a"), ("X-Acme-Ke", "b")], nil),
      ([("X-Acme-Key", "a"), ("X-Acme-Key", "b")], nil), ([(uri, ""), ("Authorization", "Bearer b")], "b"),
      ([(uri, "/a?%"), ("X-Acme-Key", "a")], "a"),
    ] as [([(String, String)], String?)] {
      #expect(try key(fields, places) == expected, "\(fields)")
    }
  }

  @Test("for any fields, both paths find the same, and nothing that cannot be a key")
  func random() throws {
    var generator = SeededGenerator(seed: 17)
    let pieces = [
      " ", "\t", ".", "Bearer", "bearer ", "a", "k_1", "?", "&", "=", "api_key=", "%61", "%", "#", "/", ",",
    ]
    let places = try #require(KeyPlaces("x-acme-key,query:api_key,x-api-key,authorization"))
    for _ in 0..<5_000 {
      let fields = ["X-Acme-Key", "X-Original-URI", "X-API-Key", "Authorization"].shuffled(using: &generator)
        .prefix(Int.random(in: 1...4, using: &generator)).map { name in
          let count = Int.random(in: 0...8, using: &generator)
          let value = (0..<count).compactMap { _ in pieces.randomElement(using: &generator) }.joined()
          return (name, value.trimmingCharacters(in: .whitespaces))
        }
      guard let key = try key(fields, places) else { continue }
      #expect((1...512).contains(key.utf8.count) && !key.contains(" ") && !key.contains("\t"), "\(fields)")
    }
  }

  @Test(
    "the setting accepts unique names without another meaning",
    arguments: [
      ("x-api-key", true), ("X-API-Key, Authorization", true), ("query:api_key", true), ("QUERY:k,x_k", true),
      ("a,b,c,d,e,f,g,h", true), ("a,b,c,d,e,f,g,h,i", false), ("", false), (",", false), ("x-api-key,", false),
      ("x-api-key,X-API-Key", false), ("query:", false), ("query:a b", false), ("query:a=b", false),
      ("header:a", false),
      ("a b", false), ("a:b", false), ("é", false), ("x-latchkey-token", false), ("X-Original-URI", false),
      ("cookie", false), ("x-request-id", false), ("host", false), (String(repeating: "a", count: 65), false),
    ])
  func parsed(_ text: String, _ isAllowed: Bool) {
    #expect((KeyPlaces(text) != nil) == isAllowed)
    #expect(KeyPlaces("x-api-key,authorization") == .standard)
  }

  @Test("a key is found next to the API's own JWT; without a key, the response is 401 MISSING_KEY and is counted")
  func authorize() async throws {
    try await withPortal(.live) { portal in
      let customer = try await portal.signUp()
      let token = try await portal.makeToken()
      let (id, key) = try await customer.createKey()
      for headers in [
        ["Authorization": "Bearer \(Self.jwt)", "X-API-Key": key], ["Authorization": "Basic YTpi", "X-API-Key": key],
        ["Authorization": key], ["Authorization": "Bearer \(key)"],
        ["Authorization": "Bearer \(key)", "X-API-Key": String(repeating: "x", count: 513)],
      ] {
        let answer = try await portal.get("/v1/authorize", headers: headers.merging(["X-Latchkey-Token": token]) { $1 })
        #expect(answer.status == 200 && answer.header("X-Latchkey-Key-Id") == id, "\(headers.keys)")
      }
      for headers in [[:], ["Authorization": "Bearer \(Self.jwt)"], ["X-API-Key": ""]] {
        let answer = try await portal.get("/v1/authorize", headers: headers.merging(["X-Latchkey-Token": token]) { $1 })
        #expect(answer.status == 401 && answer.body == .null)
        #expect(answer.header("X-Latchkey-Code") == "MISSING_KEY")
        #expect(answer.header("WWW-Authenticate") == "Bearer realm=\"api\"")
        #expect(answer.header("X-Latchkey-Key-Id") == nil && answer.header("X-RateLimit-Limit") == nil)
      }
      #expect(portal.observations.count(.verified(.missingKey)) == 3)
      // Errors of the gateway itself take precedence.
      expectProblem(
        try await portal.get("/v1/authorize", headers: ["X-Latchkey-Token": token, "X-Client-IP": "x"]), 400,
        "invalid_request", at: "header.X-Client-IP")
    }
  }

  @Test("a place that is not configured is ignored")
  func configured() async throws {
    let places = try #require(KeyPlaces("query:api_key"))
    try await withPortal(configure: { $0.keyPlaces = places }) { portal in
      let customer = try await portal.signUp()
      let token = try await portal.makeToken()
      let (_, key) = try await customer.createKey()
      for (headers, status) in [
        (["X-Original-URI": "/orders?api_key=\(key)"], 200),
        (["X-API-Key": key, "Authorization": "Bearer \(key)"], 401),
      ] {
        let answer = try await portal.get("/v1/authorize", headers: headers.merging(["X-Latchkey-Token": token]) { $1 })
        #expect(answer.status == status)
      }
    }
  }
}
