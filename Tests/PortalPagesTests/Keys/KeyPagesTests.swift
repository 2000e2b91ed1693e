import Foundation
import JSON
import Portal
import PortalApplication
import PortalHTTP
import PortalTesting
import Testing

@Suite("Pages about keys")
struct KeyPagesTests {
  @Test("from signing in to a revoked key, without JavaScript and without the API")
  func journey() async throws {
    try await withPortal { portal in
      _ = try await portal.signUp()
      let service = try await portal.makeToken()
      let browser = Browser(portal)
      let first = try await browser.get("/keys?status=any")
      #expect(first.status == 303 && first.location == "/login?next=%2Fkeys%3Fstatus%3Dany")
      let location = try #require(first.location)
      let next = try #require(try await browser.get(location).document?.value("next"))
      let signedIn = try await browser.post(
        "/login", ["email": "ada@example.com", "password": "correct horse battery", "next": next])
      #expect(signedIn.status == 303 && signedIn.location == "/keys?status=any")
      #expect(try await browser.get("/overview").says("There is no active key."))

      let (id, secret) = try await browser.createKey()
      #expect(try await portal.verify(secret, token: service).body["code"].string == "VALID")
      let right = try await browser.post("/keys/\(id)/check", ["copy": " \(secret) "])
      #expect(right.status == 200 && right.says("That is the one."))
      let wrong = try await browser.post("/keys/\(id)/check", ["copy": String(secret.dropLast())])
      #expect(wrong.status == 200 && wrong.says("That is not the key."))
      try await portal.flushUsage()
      let page = try await browser.get("/keys/\(id)")
      #expect(page.status == 200 && page.says("billing worker") && page.says("Key created"))
      #expect(page.says("60 requests per minute") && page.says("final until"))
      #expect(page.text.contains("<svg class=\"chart\" role=\"img\""))
      #expect(try await browser.get("/usage").says("billing worker"))

      let roll = try #require(try await browser.get("/keys/\(id)/roll").document)
      let rolled = try await browser.post(
        "/keys/\(id)/roll", ["grace": "3600", "once": try #require(roll.value("once"))])
      #expect(rolled.status == 201 && rolled.says("The old key keeps working until"))
      let successor = try #require(rolled.secret)
      #expect(successor != secret)
      for key in [secret, successor] {
        #expect(try await portal.verify(key, token: service).body["code"].string == "VALID")
      }

      #expect(try await browser.get("/keys/\(id)/revoke").says("A revoked key never works again."))
      let revoked = try await browser.post("/keys/\(id)/revoke")
      #expect(revoked.status == 200 && revoked.says("Refused by 1 of 1 server after"))
      #expect(try await portal.verify(secret, token: service).body["code"].string == "REVOKED")
      #expect(try await portal.verify(successor, token: service).body["code"].string == "VALID")
      // Revoking again changes nothing, and the page for it leads to the key.
      #expect(try await browser.post("/keys/\(id)/revoke").status == 200)
      #expect(try await browser.get("/keys/\(id)/revoke").location == "/keys/\(id)")

      for path in ["/overview", "/keys?status=any", "/keys/\(id)", "/usage", "/members", "/audit", "/me"] {
        let page = try await browser.get(path)
        #expect(page.status == 200, "\(path)")
        try portal.database.sweep.check(page.text, "the page \(path)")
      }
      #expect(try await browser.post("/logout").location == "/login")
      #expect(try await browser.get("/keys").status == 303)
    }
  }

  @Test("a reload shows the secret again in the same session, and creates nothing; another session gets no secret")
  func reload() async throws {
    try await withPortal { portal in
      let ada = try await portal.signUp()
      let browser = await Browser.signedIn(ada)
      let fields = Browser.newKey(once: "the form's own id")
      let secret = try #require(try await browser.post("/keys", fields).secret)
      let again = try await browser.post("/keys", fields)
      #expect(again.status == 201 && again.secret == secret)
      let other = Browser(portal)
      _ = try await other.post("/login", ["email": "ada@example.com", "password": "correct horse battery"])
      let elsewhere = try await other.post("/keys", fields)
      #expect(elsewhere.status == 201 && elsewhere.secret == nil && elsewhere.says("Its text is no longer shown."))
      try await portal.script("update idempotent_requests set created_at = created_at - interval '601 seconds'")
      let late = try await browser.post("/keys", fields)
      #expect(late.status == 201 && late.secret == nil)
      #expect(try await ada.get("/v1/keys").body["keys"].array.count == 1)
    }
  }

  @Test("a form that was used for another key makes nothing, and can be sent again")
  func otherValues() async throws {
    try await withPortal { portal in
      let ada = try await portal.signUp()
      let browser = await Browser.signedIn(ada)
      #expect(try await browser.post("/keys", Browser.newKey("one", once: "a")).status == 201)
      let refused = try await browser.post("/keys", Browser.newKey("two", once: "a"))
      #expect(refused.status == 422 && refused.says("This form had been used before"))
      let once = try #require(refused.document?.value("once"))
      #expect(once != "a" && refused.document?.value("name") == "two")
      #expect(try await browser.post("/keys", Browser.newKey("two", once: once)).status == 201)
      #expect(try await browser.post("/keys", Browser.newKey("three", once: "")).status == 422)
      #expect(try await ada.get("/v1/keys").body["keys"].array.count == 2)
    }
  }

  @Test(
    "a wrong value is shown beside its field with everything that was typed, and nothing is made",
    arguments: [
      ("name", " ", "Enter a name"), ("name", "a\u{202E}b", "characters that cannot be seen"),
      ("scopes", "", "at least one scope"), ("scopes", "Orders", "is not a scope"), ("expires", "soon", "Choose when"),
      ("expires", "on", "Choose a day"), ("rateLimitPerMinute", "1e3", "whole number"),
      ("rateLimitPerMinute", "10001", "whole number"), ("allowedIPs", "1.2.3", "is not an address"),
      ("tags", "a a", "each tag once"), ("tags", "<b>", "is not a tag"),
      ("description", String(repeating: "a", count: 501), "at most 500"),
      ("environment", "prod", "Choose an environment"),
    ])
  func wrongValues(_ name: String, _ value: String, _ message: String) async throws {
    try await withPortal { portal in
      let ada = try await portal.signUp()
      let browser = await Browser.signedIn(ada)
      let answer = try await browser.post("/keys", Browser.newKey("Kept", once: "a").setting(name, value))
      #expect(answer.status == 422 && answer.says(message))
      let problem = name == "expires" && value == "on" ? "expiresOn" : name
      #expect(answer.document?.elements.contains { $0.attributes["id"] == "\(problem)-problem" } == true)
      if name != "name" { #expect(answer.document?.value("name") == "Kept") }
      #expect(try await ada.get("/v1/keys").body["keys"].array.isEmpty)
    }
  }

  @Test("what the plan or the account's policy refuses stands beside the field, too")
  func rules() async throws {
    try await withPortal { portal in
      let ada = try await portal.signUp()
      let browser = await Browser.signedIn(ada)
      _ = try await ada.put("/v1/account/policy", #"{"allowlistRequired":true,"allowedScopes":["batch:*"]}"#)
      let answer = try await browser.post("/keys", Browser.newKey(once: "a"))
      #expect(answer.status == 422)
      for id in ["allowedIPs-problem", "scopes-problem"] {
        #expect(answer.document?.elements.contains { $0.attributes["id"] == id } == true, "\(id)")
      }
      #expect(try await ada.get("/v1/keys").body["keys"].array.isEmpty)
    }
  }

  @Test("an edit changes what the form has, and a change by somebody else in the meantime is shown first")
  func edit() async throws {
    try await withPortal { portal in
      let ada = try await portal.signUp()
      let browser = await Browser.signedIn(ada)
      let id = try await ada.createKey(#","expiresAt":"2099-01-01T00:00:00Z","metadata":{"a":1}"#).id
      let form = try #require(try await browser.get("/keys/\(id)/edit").document)
      #expect(form.value("name") == "Key")
      func fields(_ name: String, _ revision: String?) -> Fields {
        [
          "name": name, "scopes": "orders:read", "expires": "keep", "expiresOn": "", "rateLimitPerMinute": "30",
          "allowedIPs": "203.0.113.7\n2001:db8::/32", "tags": "a b", "description": "Two\nlines",
          "revision": revision ?? "",
        ]
      }
      let edited = try await browser.post("/keys/\(id)/edit", fields("Renamed", form.value("revision")))
      #expect(edited.status == 200 && edited.says("The changes are in force on 1 of 1 server after"))
      let key = try await ada.get("/v1/keys/\(id)").body
      #expect(key["name"].string == "Renamed" && key["rateLimitPerMinute"].integer == 30)
      #expect(key["allowedIPs"].array.compactMap(\.string) == ["203.0.113.7", "2001:db8::/32"])
      #expect(key["description"].string == "Two\nlines" && key["expiresAt"].string == "2099-01-01T00:00:00.000Z")
      #expect(key["metadata"]["a"].integer == 1)

      let late = try await browser.post("/keys/\(id)/edit", fields("Mine", form.value("revision")))
      #expect(late.status == 412 && late.says("Somebody has changed this key meanwhile"))
      #expect(late.says("Name: now Renamed, in your form Mine"))
      let revision = late.document?.value("revision")
      #expect(revision != form.value("revision"))
      #expect(try await browser.post("/keys/\(id)/edit", fields("Mine", revision)).status == 200)
      #expect(try await ada.get("/v1/keys/\(id)").body["name"].string == "Mine")
    }
  }

  @Test("a disabled key is refused until it is enabled again")
  func disable() async throws {
    try await withPortal { portal in
      let ada = try await portal.signUp()
      let (browser, service) = (await Browser.signedIn(ada), try await portal.makeToken())
      let (id, secret) = try await ada.createKey()
      let disabled = try await browser.post("/keys/\(id)/disable")
      #expect(disabled.status == 200 && disabled.says("Refused by 1 of 1 server"))
      #expect(try await portal.verify(secret, token: service).body["code"].string == "DISABLED")
      #expect(try await browser.post("/keys/\(id)/enable").says("Let through again by 1 of 1 server"))
      #expect(try await portal.verify(secret, token: service).body["code"].string == "VALID")
    }
  }

  @Test("a roll without a grace ends the old key with a receipt, and a reload rolls nothing again")
  func rollAtOnce() async throws {
    try await withPortal { portal in
      let ada = try await portal.signUp()
      let (browser, service) = (await Browser.signedIn(ada), try await portal.makeToken())
      let (id, secret) = try await ada.createKey()
      let rolled = try await browser.post("/keys/\(id)/roll", ["grace": "0", "once": "a"])
      #expect(rolled.status == 201 && rolled.says("The old key is refused by 1 of 1 server"))
      #expect(try await portal.verify(secret, token: service).body["code"].string == "REVOKED")
      #expect(try await browser.post("/keys/\(id)/roll", ["grace": "0", "once": "a"]).secret == rolled.secret)
      #expect(try await ada.get("/v1/keys").body["keys"].array.count == 2)
      #expect(try await browser.post("/keys/\(id)/roll", ["grace": "0", "once": "b"]).status == 409)
      #expect(try await browser.post("/keys/\(id)/roll", ["grace": "-1", "once": "c"]).status == 422)
    }
  }

  @Test("the list filters and continues, and hides what has ended at first")
  func list() async throws {
    try await withPortal { portal in
      let ada = try await portal.signUp()
      let browser = await Browser.signedIn(ada)
      try await portal.script("update plans set key_cap = 100")
      var ids: [String] = []
      for _ in 0..<52 { ids.append(try await ada.createKey(#","tags":["x"]"#).id) }
      _ = try await ada.delete("/v1/keys/\(ids[0])")
      func shown(_ page: PageAnswer) -> [String] {
        ids.filter { page.text.contains("\"/keys/\($0)\"") }
      }
      let first = try await browser.get("/keys")
      #expect(shown(first).count == 50)
      let next = try #require(first.document?.all("a").first { $0.attributes["rel"] == "next" }?.attributes["href"])
      #expect(shown(try await browser.get(next)) == [ids[1]])
      #expect(shown(try await browser.get("/keys?status=revoked")) == [ids[0]])
      #expect(shown(try await browser.get("/keys?q=nothing+like+this")) == [])
      #expect(shown(try await browser.get("/keys?tag=x&q=Key&status=any")).count == 50)
      // What is not understood counts as absent.
      #expect(try await browser.get("/keys?cursor=x&status=dead&tag=%FF&q=%00&utm=1").status == 200)
    }
  }

  @Test("another account's key is not found on any page, and stays as it is")
  func otherAccount() async throws {
    try await withPortal { portal in
      let ada = try await portal.signUp()
      let (id, secret) = try await ada.createKey()
      let browser = await Browser.signedIn(try await portal.signUp("eve@example.com"))
      for route in portal.application.pageTable.all where route.contains("/keys/{id}") {
        let path = String(route.drop { $0 != "/" }).replacing("{id}", with: id)
        let answer =
          route.hasPrefix("GET")
          ? try await browser.get(path)
          : try await browser.post(
            path,
            [
              "copy": secret, "grace": "0", "once": "a", "revision": "1", "name": "Eve's", "scopes": "a",
              "expires": "keep",
              "rateLimitPerMinute": "1",
            ])
        #expect(answer.status == 404 && answer.says("There is nothing here"), "\(route)")
      }
      let own = try await browser.createKey()
      #expect(try await browser.post("/keys/\(own.id)/check", ["copy": secret]).says("That is not the key."))
      #expect(try await ada.get("/v1/keys/\(id)").body["status"].string == "active")
      #expect(try await ada.get("/v1/keys/\(id)").body["name"].string == "Key")
    }
  }
}
