import Foundation
import JSON
import Portal
import PortalAPI
import PortalHTTP
import PortalTesting
import Postgres
import PostgresTesting
import Testing

private struct LimitEvents: PostgresStatement {
  typealias Row = String
  static let sql = """
    select concat_ws(' ', actor_kind, action, reason, ticket, detail) from audit_events
    where action like 'limit%' order by seq
    """
}

@Suite("/v1/limits")
struct StandaloneLimitsRoutesTests {
  private static let answer = [
    "allowed", "limit", "windowMilliseconds", "remaining", "resetSeconds", "overrideId",
  ]
  private static let override = ["id", "identifier", "limit", "windowMilliseconds", "createdAt"]
  /// A day, so that no window ends within a test.
  private static let day = 86_400_000

  private func body(_ identifier: String = "user_1", _ limit: Int = 3, _ more: String = "") -> String {
    #"{"identifier":"\#(identifier)","limit":\#(limit),"windowMilliseconds":\#(Self.day)\#(more)}"#
  }

  @Test("a request is allowed up to the limit, with the fields and headers of a limit; the namespace is made")
  func take() async throws {
    try await withPortal { portal in
      let token = try await portal.makeToken([.useLimits])
      for remaining in [2, 1, 0] {
        let answer = try await portal.post("/v1/limits/e-mails%20%2F%20day", body(), token: token)
        #expect(answer.status == 200 && answer.body.names == Self.answer)
        #expect(answer.body["allowed"] == .bool(true) && answer.body["remaining"].integer == remaining)
        #expect(answer.body["limit"].integer == 3 && answer.body["windowMilliseconds"].integer == Self.day)
        #expect((0...86_400).contains(answer.body["resetSeconds"].integer ?? -1))
        #expect(answer.body["overrideId"] == .null)
        #expect(answer.header("RateLimit-Policy") == #""limit";q=3;w=86400"#)
        #expect(answer.header("RateLimit")?.hasPrefix(#""limit";r=\#(remaining);t="#) == true)
        #expect(answer.header("X-RateLimit-Limit") == "3" && answer.header("Retry-After") == nil)
      }
      let refused = try await portal.post("/v1/limits/e-mails%20%2F%20day", body(), token: token)
      #expect(refused.status == 200 && refused.body["allowed"] == .bool(false))
      #expect(refused.body["remaining"].integer == 0)
      #expect(refused.header("Retry-After") == refused.body["retryAfterSeconds"].integer.map { "\($0)" })
      #expect(refused.header("Retry-After") != nil)
      let never = try await portal.post("/v1/limits/other", body("a", 3, #","cost":4"#), token: token)
      #expect(never.body["allowed"] == .bool(false) && never.body["retryAfterSeconds"] == .null)
      #expect(never.header("X-Latchkey-Retry") == "never")
      let free = try await portal.post("/v1/limits/other", body("a", 3, #","cost":0"#), token: token)
      #expect(free.body["allowed"] == .bool(true) && free.body["remaining"].integer == 3)
      let list = try await portal.get("/v1/limits", token: token)
      #expect(list.body.names == ["namespaces", "nextCursor"])
      #expect(list.body["namespaces"].array.map { $0["name"].string } == ["other", "e-mails / day"])
      #expect(list.body["namespaces"][0].names == ["name", "createdAt"])
    }
  }

  @Test("in the mode consistent, concurrent requests to two instances are allowed exactly up to the limit")
  func consistent() async throws {
    try await withDatabase { database in
      try await withPortal(on: database) { one in
        try await withPortal(on: database) { other in
          let token = try await one.makeToken([.useLimits])
          let body = body("user_1", 20, #","mode":"consistent""#)
          let answers = try await withThrowingTaskGroup { group in
            for index in 0..<60 {
              group.addTask { try await (index % 2 == 0 ? one : other).post("/v1/limits/emails", body, token: token) }
            }
            return try await group.reduce(into: [TestAnswer]()) { $0.append($1) }
          }
          #expect(answers.count { $0.body["allowed"] == .bool(true) } == 20)
          #expect(answers.count { $0.body["allowed"] == .bool(false) } == 40)
        }
      }
    }
  }

  @Test("two instances in the mode fast use the limit together, and exceed it by two at most")
  func fast() async throws {
    try await withDatabase { database in
      try await withPortal(on: database) { one in
        try await withPortal(on: database) { other in
          let token = try await one.makeToken([.useLimits, .writeLimits])
          // After that both know of each other.
          let set = try await one.put(
            "/v1/limits/other/overrides", #"{"identifier":"a","limit":1,"windowMilliseconds":1000}"#, token: token)
          #expect(set.body["propagation"]["acknowledged"].integer == 2)
          var count = 0
          for number in 0..<30 {
            let answer = try await [one, other][number % 2].post("/v1/limits/emails", body("user_1", 10), token: token)
            if answer.body["allowed"] == .bool(true) { count += 1 }
          }
          #expect((10...12).contains(count), "\(count)")
        }
      }
    }
  }

  @Test("several requests are decided together: all are taken, or none")
  func together() async throws {
    try await withPortal { portal in
      let token = try await portal.makeToken([.useLimits])
      func item(_ namespace: String, _ identifier: String, _ limit: Int) -> String {
        #"{"namespace":"\#(namespace)",\#(body(identifier, limit).dropFirst())"#
      }
      let items = [item("emails", "a", 2), item("sms", "a", 2), item("emails", "b", 1)]
      let list = #"{"requests":[\#(items.joined(separator: ","))]}"#
      let taken = try await portal.post("/v1/limits", list, token: token)
      #expect(taken.status == 200 && taken.body.names == ["allowed", "results"])
      #expect(taken.body["allowed"] == .bool(true) && taken.body["results"].array.count == 3)
      #expect(taken.body["results"][1].names == ["namespace", "identifier"] + Self.answer)
      #expect(taken.body["results"][1]["namespace"].string == "sms")
      #expect(taken.body["results"].array.map { $0["remaining"].integer } == [1, 1, 0])
      for _ in 1...2 {
        let refused = try await portal.post("/v1/limits", list, token: token)
        #expect(refused.status == 200 && refused.body["allowed"] == .bool(false))
        #expect(refused.body["results"].array.map { $0["allowed"] } == [.bool(true), .bool(true), .bool(false)])
        #expect(refused.body["results"].array.map { $0["remaining"].integer } == [1, 1, 0])
      }
      let many = Array(repeating: item("emails", "c", 100), count: 100).joined(separator: ",")
      let all = try await portal.post("/v1/limits", #"{"requests":[\#(many)]}"#, token: token)
      #expect(all.body["allowed"] == .bool(true) && all.body["results"][0]["remaining"].integer == 0)
      let tooMany = #"{"requests":[\#(many),\#(items[0])]}"#
      expectProblem(
        try await portal.post("/v1/limits", tooMany, token: token), 400, "invalid_request", at: "body.requests")
    }
  }

  @Test("an override is set, listed, read and deleted, and applies at once on another instance")
  func overrides() async throws {
    try await withDatabase { database in
      try await withPortal(on: database) { one in
        try await withPortal(on: database) { other in
          let token = try await one.makeToken([.useLimits, .writeLimits])
          #expect(try await other.post("/v1/limits/emails", body(), token: token).body["limit"].integer == 3)
          let set = try await one.put(
            "/v1/limits/emails/overrides", #"{"identifier":"user_*","limit":100,"windowMilliseconds":60000}"#,
            token: token)
          #expect(set.status == 201 && set.body.names == Self.override + ["propagation"])
          #expect(set.body["id"].isID && set.body["createdAt"].isTime)
          #expect(set.body["propagation"]["acknowledged"].integer == 2)
          let id = try #require(set.body["id"].string)
          let answer = try await other.post("/v1/limits/emails", body(), token: token)
          #expect(answer.body["overrideId"].string == id && answer.body["limit"].integer == 100)
          #expect(answer.body["windowMilliseconds"].integer == 60_000 && answer.body["remaining"].integer == 99)
          let again = try await one.put(
            "/v1/limits/emails/overrides", #"{"identifier":"user_*","limit":0,"windowMilliseconds":60000}"#,
            token: token)
          #expect(again.status == 200 && again.body["id"].string == id && again.body["limit"].integer == 0)
          #expect(try await other.post("/v1/limits/emails", body(), token: token).body["allowed"] == .bool(false))
          let found = try await other.get("/v1/limits/emails/overrides/" + id, token: token)
          #expect(found.status == 200 && found.body.names == Self.override)
          let list = try await other.get("/v1/limits/emails/overrides?limit=1", token: token)
          #expect(list.body["overrides"].array == [found.body] && list.body["nextCursor"] == .null)
          let exact = try await other.get("/v1/limits/emails/overrides?identifier=user_1", token: token)
          #expect(exact.status == 200 && exact.body["overrides"].array.isEmpty)
          let deleted = try await one.delete("/v1/limits/emails/overrides/" + id, token: token)
          #expect(deleted.status == 200 && deleted.body.names == ["propagation"])
          #expect(try await other.post("/v1/limits/emails", body(), token: token).body["overrideId"] == .null)
          expectProblem(
            try await one.delete("/v1/limits/emails/overrides/" + id, token: token), 404, "not_found")
          expectProblem(try await one.get("/v1/limits/none/overrides", token: token), 404, "not_found")
          #expect(try await one.delete("/v1/limits/emails", token: token).status == 200)
          expectProblem(try await one.delete("/v1/limits/emails", token: token), 404, "not_found")
        }
      }
    }
  }

  @Test("reading takes limits.use or limits.write, counting takes limits.use, and changing takes limits.write")
  func permissions() async throws {
    try await withPortal { portal in
      let (use, write) = (try await portal.makeToken([.useLimits]), try await portal.makeToken([.writeLimits]))
      let override = #"{"identifier":"a","limit":1,"windowMilliseconds":1000}"#
      expectProblem(try await portal.put("/v1/limits/emails/overrides", override, token: use), 403, "forbidden")
      let id = try #require(
        try await portal.put("/v1/limits/emails/overrides", override, token: write).body["id"].string)
      for path in ["", "/emails/overrides", "/emails/overrides/" + id] {
        for token in [use, write] { #expect(try await portal.get("/v1/limits" + path, token: token).status == 200) }
        let other = try await portal.makeToken([.verifyKeys, .readKeys, .writeCatalog])
        expectProblem(try await portal.get("/v1/limits" + path, token: other), 403, "forbidden", "\(path)")
      }
      expectProblem(try await portal.post("/v1/limits/emails", body(), token: write), 403, "forbidden")
      expectProblem(
        try await portal.delete("/v1/limits/emails/overrides/" + id, token: use), 403, "forbidden")
      await #expect(throws: PortalError.self) { try await portal.makeToken([.useLimits], in: .test) }
      await #expect(throws: PortalError.self) { try await portal.makeToken([.writeLimits], in: .live) }
    }
  }

  @Test("staff must state a reason, and a service token may; first uses and changes are in the system's trail")
  func reasons() async throws {
    try await withPortal { portal in
      let admin = try await portal.logInStaff(role: .admin)
      let token = try await portal.makeToken([.useLimits, .writeLimits])
      _ = try await portal.post("/v1/limits/emails", body(), token: token)
      let override = #"{"identifier":"a*","limit":1,"windowMilliseconds":1000"#
      let rows = try await portal.rowCount()
      for body in [override + "}", override + #","ticket":"T-1"}"#] {
        let answer = try await portal.put("/v1/limits/emails/overrides", body, token: admin)
        expectProblem(answer, 400, "invalid_request", at: "body.reason")
      }
      expectProblem(try await portal.delete("/v1/limits/emails", token: admin), 400, "invalid_request")
      #expect(try await portal.rowCount() == rows)
      let body = override + #","reason":"asked for it","ticket":"T-1"}"#
      let id = try #require(
        try await portal.put("/v1/limits/emails/overrides", body, token: admin).body["id"].string)
      #expect(try await portal.delete("/v1/limits/emails/overrides/" + id, token: token).status == 200)
      #expect(try await portal.delete("/v1/limits/emails", token: token).status == 200)
      #expect(
        try await portal.pool.query(LimitEvents()) == [
          "token limit_namespace.created emails",
          "staff limit_override.set asked for it T-1 1 in 1000 ms for a* in emails",
          "token limit_override.deleted for a* in emails", "token limit_namespace.deleted emails",
        ])
    }
  }

  @Test("invalid values are refused with their location, and nothing is made or taken")
  func refused() async throws {
    try await withPortal { portal in
      let token = try await portal.makeToken([.useLimits, .writeLimits])
      let rows = try await portal.rowCount()
      let (limit, window) = (#""limit":1"#, #""windowMilliseconds":1000"#)
      let long = String(repeating: "a", count: 513)
      for (body, location) in [
        ("{\(limit),\(window)}", "identifier"), (#"{"identifier":"",\#(limit),\#(window)}"#, "identifier"),
        (#"{"identifier":"a\u0000",\#(limit),\#(window)}"#, "identifier"),
        (#"{"identifier":"\#(long)",\#(limit),\#(window)}"#, "identifier"),
        (#"{"identifier":"a",\#(window)}"#, "limit"),
        (#"{"identifier":"a","limit":-1,\#(window)}"#, "limit"),
        (#"{"identifier":"a","limit":1000000001,\#(window)}"#, "limit"),
        (#"{"identifier":"a",\#(limit)}"#, "windowMilliseconds"),
        (#"{"identifier":"a",\#(limit),"windowMilliseconds":999}"#, "windowMilliseconds"),
        (#"{"identifier":"a",\#(limit),"windowMilliseconds":1500}"#, "windowMilliseconds"),
        (#"{"identifier":"a",\#(limit),"windowMilliseconds":86401000}"#, "windowMilliseconds"),
        (#"{"identifier":"a",\#(limit),\#(window),"cost":-1}"#, "cost"),
        (#"{"identifier":"a",\#(limit),\#(window),"cost":1000000001}"#, "cost"),
        (#"{"identifier":"a",\#(limit),\#(window),"more":1}"#, "more"),
      ] {
        let answer = try await portal.post("/v1/limits/emails", body, token: token)
        expectProblem(answer, 400, "invalid_request", at: "body." + location, "\(body)")
        let item = #"{"namespace":"emails",\#(body.dropFirst())"#
        let list = try await portal.post("/v1/limits", #"{"requests":[\#(item)]}"#, token: token)
        expectProblem(list, 400, "invalid_request", at: "body.requests[0]." + location, "\(body)")
        guard location != "cost" else { continue }
        let set = try await portal.put("/v1/limits/emails/overrides", body, token: token)
        expectProblem(set, 400, "invalid_request", at: "body." + location, "\(body)")
      }
      for (list, location) in [
        ("{}", "requests"), (#"{"requests":[]}"#, "requests"), (#"{"requests":[1]}"#, "requests[0]"),
        (#"{"requests":[\#(body())]}"#, "requests[0].namespace"),
        (#"{"requests":[{"namespace":"",\#(body().dropFirst())]}"#, "requests[0].namespace"),
        (#"{"requests":[{"namespace":"a","mode":"fast",\#(body().dropFirst())]}"#, "requests[0].mode"),
      ] {
        let answer = try await portal.post("/v1/limits", list, token: token)
        expectProblem(answer, 400, "invalid_request", at: "body." + location, "\(list)")
      }
      let mode = try await portal.post("/v1/limits/emails", body("a", 1, #","mode":"exact""#), token: token)
      expectProblem(mode, 400, "invalid_request", at: "body.mode")
      for namespace in ["%ff", "%00", "%0a", long, String(repeating: "%F0%9F%98%80", count: 513)] {
        let answer = try await portal.post("/v1/limits/" + namespace, body(), token: token)
        expectProblem(answer, 400, "invalid_request", at: "path.namespace", "\(namespace)")
        expectProblem(try await portal.delete("/v1/limits/" + namespace, token: token), 404, "not_found")
      }
      #expect(try await portal.rowCount() == rows)
    }
  }

  @Test("a namespace beyond the maximum is refused with 409, and the others go on")
  func full() async throws {
    try await withPortal { portal in
      let token = try await portal.makeToken([.useLimits, .writeLimits])
      try await portal.script(
        """
        insert into limit_namespaces (id, name, name_hash)
        select gen_random_uuid(), name, sha256(convert_to(name, 'UTF8'))
        from (select 'namespace ' || n as name from generate_series(1, \(LimitNamespace.countMax)) n) names
        """)
      expectProblem(try await portal.post("/v1/limits/new", body(), token: token), 409, "cap_reached")
      #expect(try await portal.post("/v1/limits/namespace%201", body(), token: token).status == 200)
      let item = #"{"namespace":"new",\#(body().dropFirst())"#
      expectProblem(
        try await portal.post("/v1/limits", #"{"requests":[\#(item)]}"#, token: token), 409, "cap_reached")
    }
  }
}
