import Foundation
import Portal
import PortalAPI
import PortalApplication
import PortalHTTP
import PortalTesting
import PostgresTesting
import Testing

@Suite("Problems")
struct ProblemTests {
  @Test("a refusal by the domain is located in the body, or in the key that the request is about")
  func placed() {
    let problem = RequestProblem(FieldProblem(.scope(1), "is wrong"))
    #expect(problem == RequestProblem(location: "body.scopes[1]", message: "is wrong"))
    #expect(RequestProblem(FieldProblem(.expiresAt, "is wrong", of: .key)).location == "key.expiresAt")
  }

  @Test("an unknown path is not_found, with or without a session")
  func unknownPaths() async throws {
    try await withPortal { portal in
      let customer = try await portal.signUp()
      for path in [
        "/", "/v1", "/v2/keys", "/v1/keyz", "/V1/keys", "/v1/keys/x/rolls", "/v1/me/x", "/v1/%6be%79z",
        "/v1/verify/batches",
        "/metrics/x", "/.env", "/v1/../healthz", "/%00", "/%ff", "/%zz", "/%", "/🔑",
        "/" + String(repeating: "a/", count: 1_000), "/" + String(repeating: "a", count: 10_000),
      ] {
        expectProblem(try await portal.get(path), 404, "not_found", "\(path.prefix(64))")
        expectProblem(try await customer.post(path, "{}"), 404, "not_found", "\(path.prefix(64))")
      }
    }
  }

  @Test("every response has a request id of its own, including successes and responses without a body")
  func requestIDs() async throws {
    try await withPortal { portal in
      let customer = try await portal.signUp()
      var ids: [String] = []
      for _ in 0..<3 {
        for answer in [
          try await portal.get("/healthz"), try await portal.get("/nowhere"), try await customer.get("/v1/keys"),
          try await customer.post("/v1/keys", "{}"), try await portal.request("PUT", "/v1/keys"),
        ] {
          ids.append(try #require(answer.header("X-Request-Id")))
        }
      }
      ids.append(try #require(try await customer.post("/v1/logout").header("X-Request-Id")))
      #expect(Set(ids).count == ids.count && !ids.contains(""))
    }
  }

  @Test("a malformed path or query is refused as a client error, never as an internal error")
  func brokenEncodings() async throws {
    try await withPortal { portal in
      let customer = try await portal.signUp()
      for id in ["%", "%2", "%zz", "%c3%28", "%00", "%2e%2e", "%252e", "%2f", "+"] {
        expectProblem(try await customer.get("/v1/keys/" + id), 404, "not_found", "\(id)")
        expectProblem(try await customer.post("/v1/keys/\(id)/roll"), 404, "not_found", "\(id)")
      }
      for value in ["%", "%2", "%zz", "%c3%28", "%00", "%ff", "+", "%20"] {
        expectProblem(
          try await customer.get("/v1/keys?limit=" + value), 400, "invalid_request", at: "query.limit", "\(value)")
        expectProblem(
          try await customer.get("/v1/keys?cursor=" + value), 400, "invalid_request", at: "query.cursor", "\(value)")
        expectProblem(
          try await customer.get("/v1/keys?status=" + value), 400, "invalid_request", at: "query.status", "\(value)")
      }
      for query in ["", "&&&"] {
        #expect(try await customer.get("/v1/keys?" + query).status == 200, "\(query)")
      }
      for (query, location) in [("=", "query."), ("%zz=1", "query"), ("a=b=c", "query.a"), ("%00", "query.\u{FFFD}")] {
        expectProblem(
          try await customer.get("/v1/keys?" + query), 400, "invalid_request", at: location, "\(query)")
      }
    }
  }

  @Test("a body must be declared as JSON, in any case and with any parameters")
  func contentTypes() async throws {
    try await withPortal { portal in
      let customer = try await portal.signUp()
      let body = Array(#"{"name":"n","scopes":["a"]}"#.utf8)
      for type in [
        nil, "", ";", "text/plain", "application/x-www-form-urlencoded", "application/jsonx",
        "application/problem+json",
        "text/json", "json", "application/*", "application/ json", "text/plain; application/json",
      ] {
        let answer = try await portal.request(
          "POST", "/v1/keys", bytes: body, token: customer.token, headers: type.map { ["Content-Type": $0] } ?? [:])
        expectProblem(answer, 415, "unsupported_media_type", "\(type ?? "none")")
      }
      #expect(try await portal.keyCount() == 0)
      for type in ["application/json", "Application/JSON", "application/json; charset=utf-8", "application/json ;a=b"] {
        let answer = try await portal.request(
          "POST", "/v1/keys", bytes: body, token: customer.token, headers: ["Content-Type": type])
        #expect(answer.status == 201, "\(type)")
      }
    }
  }

  @Test("a body with a content coding is 415 on every route, and the response says what is accepted")
  func contentCodings() async throws {
    try await withPortal(.live) { portal in
      let (customer, staff) = (try await portal.signUp().token, try await portal.logInStaff())
      let gateway = try await portal.makeToken()
      let id = "018f4e6a-0000-7000-8000-000000000000"
      for (path, token) in [
        ("/v1/signup", nil), ("/v1/login", nil), ("/v1/support/login", nil), ("/v1/keys", customer),
        ("/v1/keys/\(id)/roll", customer), ("/v1/verify", gateway), ("/v1/verify/batch", gateway),
        ("/v1/usage", gateway), ("/v1/support/keys/\(id)/revoke", staff),
      ] {
        for coding in ["gzip", "identity, gzip", "br", "x"] {
          let answer = try await portal.post(path, "{}", token: token, headers: ["Content-Encoding": coding])
          expectProblem(answer, 415, "unsupported_content_coding", "\(path)")
          #expect(answer.header("Accept-Encoding") == "identity")
        }
        for coding in ["identity", "IDENTITY", "identity,", ""] {
          let answer = try await portal.post(path, "{}", token: token, headers: ["Content-Encoding": coding])
          #expect(answer.status != 415 && answer.header("Accept-Encoding") == nil, "\(path)")
        }
      }
      // Without a body, the header does not matter.
      let roll = try await portal.post("/v1/keys/\(id)/roll", token: customer, headers: ["Content-Encoding": "gzip"])
      expectProblem(roll, 404, "not_found")
    }
  }

  @Test("a body of ten megabytes is body_too_large on every route, with or without Content-Length")
  func largeBodies() async throws {
    try await withPortal { portal in
      let (customer, staff) = (try await portal.signUp().token, try await portal.logInStaff())
      let gateway = try await portal.makeToken()
      let id = "018f4e6a-0000-7000-8000-000000000000"
      let body = Array("{\"key\":\"".utf8) + Array(repeating: UInt8(ascii: "a"), count: 10 << 20) + Array("\"}".utf8)
      for (path, token) in [
        ("/v1/signup", nil), ("/v1/login", nil), ("/v1/support/login", nil), ("/v1/keys", customer),
        ("/v1/keys/\(id)/roll", customer), ("/v1/verify", gateway), ("/v1/usage", gateway),
        ("/v1/support/keys/lookup", staff), ("/v1/support/keys/\(id)/revoke", staff),
        ("/v1/support/accounts/\(id)/suspend", staff), ("/v1/support/accounts/\(id)/resume", staff),
      ] {
        for headers in [[:], ["Content-Length": "\(body.count)"]] {
          let answer = try await portal.request(
            "POST", path, bytes: body, token: token,
            headers: headers.merging(["Content-Type": "application/json"]) { $1 })
          expectProblem(answer, 413, "body_too_large", "\(path)")
        }
      }
    }
  }

  @Test("an internal error reveals no internals, leaves no changes behind, and is no verdict")
  func internalErrors() async throws {
    try await withPortal { portal in
      let customer = try await portal.signUp()
      let token = try await portal.makeToken()
      let (id, key) = try await customer.createKey()
      try await portal.script(
        "drop table audit_events cascade; drop table key_usage cascade; alter table api_keys rename key_hash to h")
      for answer in [
        try await customer.post("/v1/keys", #"{"name":"n","scopes":["a"]}"#),
        try await customer.delete("/v1/keys/" + id),
        try await customer.get("/v1/audit"), try await customer.get("/v1/usage"),
        try await customer.get("/v1/keys/\(id)/usage"), try await portal.verify(key, token: token),
      ] {
        expectProblem(answer, 500, "internal_error")
        let text = "\(answer)".lowercased()
        for word in ["audit_events", "usage\"", "key_hash", "relation", "column", "42p", "42703", "postgres", "select"]
        {
          #expect(!text.contains(word), "\(word) in \(text)")
        }
        #expect(!text.contains(key.lowercased()))
      }
      #expect(try await portal.keyCount() == 1)
      #expect(try await customer.get("/v1/keys/" + id).body["status"].string == "active")
    }
  }

  @Test("without the database, everything but healthz is unavailable with Retry-After, and recovers with the database")
  func unavailable() async throws {
    try await withPortal(configure: { $0.lease = .seconds(1) }) { portal in
      let (customer, staff) = (try await portal.signUp(), try await portal.logInStaff())
      let token = try await portal.makeToken()
      let (id, key) = try await customer.createKey()
      #expect(try await portal.report([event(id)], token: token).status == 202)
      try await portal.shutDatabase()
      try await eventually("the lease runs out") { try await portal.verify(key, token: token).status == 503 }
      let credentials = #"{"email":"ada@example.com","password":"correct horse battery"}"#
      for answer in [
        try await portal.post("/v1/login", credentials), try await portal.post("/v1/support/login", credentials),
        try await portal.post(
          "/v1/signup", #"{"email":"eve@example.com","password":"correct horse battery","accountName":"a"}"#),
        try await customer.get("/v1/me"), try await customer.get("/v1/keys"), try await customer.get("/v1/audit"),
        try await customer.get("/v1/usage"), try await customer.post("/v1/keys", #"{"name":"n","scopes":["a"]}"#),
        try await customer.delete("/v1/keys/" + id), try await customer.post("/v1/keys/\(id)/roll"),
        try await customer.post("/v1/logout"), try await portal.report([event(id)], token: token),
        try await portal.get("/v1/support/keys?start=lk", token: staff),
        try await portal.post("/v1/support/keys/\(id)/revoke", #"{"reason":"leaked"}"#, token: staff),
      ] {
        expectProblem(answer, 503, "unavailable")
        #expect(answer.header("Retry-After") == "1")
      }
      #expect(try await portal.get("/healthz").status == 200)
      try await portal.openDatabase()
      try await eventually("the portal works again") {
        let answer = try await customer.get("/v1/keys/" + id)
        #expect(answer.status == 503 || answer.body["status"].string == "active")
        return answer.status == 200
      }
    }
  }

  @Test("too many failed log-ins from one address are throttled, whatever e-mail addresses they use")
  func throttledAddress() async throws {
    try await withPortal(.live) { portal in
      _ = try await portal.signUp()
      for number in 0..<50 {
        let answer = try await portal.post("/v1/login", "{\"email\":\"\(number)@example.com\",\"password\":\"x\"}")
        expectProblem(answer, 401, "invalid_credentials")
      }
      try await portal.lengthenDelays()
      let answer = try await portal.post(
        "/v1/login", #"{"email":"ada@example.com","password":"correct horse battery"}"#)
      expectProblem(answer, 429, "too_many_requests")
      #expect((3_500...3_601).contains(answer.header("Retry-After").flatMap { Int($0) } ?? 0))
    }
  }

  @Test(
    "log-ins beyond the queue are refused with Retry-After, and other requests do not wait for them")
  func floodOfLogins() async throws {
    let cost = ScryptCost(logN: 13, r: 8, p: 1)
    try await withPortal(configure: { ($0.passwordThreadCount, $0.passwordCost) = (1, cost) }) { portal in
      let customer = try await portal.signUp()
      try await withThrowingTaskGroup(of: TestAnswer.self) { group in
        for number in 0..<300 {
          group.addTask {
            try await portal.post("/v1/login", "{\"email\":\"\(number)@example.com\",\"password\":\"x\"}")
          }
        }
        #expect(try await customer.get("/v1/me").status == 200)
        var counts: [Int: Int] = [:]
        for try await answer in group {
          counts[answer.status, default: 0] += 1
          expectProblem(answer, answer.status, answer.status == 429 ? "too_many_requests" : "invalid_credentials")
          #expect(answer.status == 401 || answer.header("Retry-After") == "5")
        }
        #expect(Set(counts.keys) == [401, 429])
        #expect(counts[401, default: 0] >= 64)
      }
    }
  }
}
