import Foundation
import JSON
import PortalAPI
import PortalHTTP
import PortalTesting
import Testing

@Suite("Descriptions, tags and metadata of keys")
struct DescribeKeyTests {
  @Test("description, tags and metadata are returned as they were sent, everywhere, and a successor inherits them")
  func everywhere() async throws {
    try await withPortal { portal in
      let customer = try await portal.signUp()
      let metadata = #"{"z":1.50e2,"a":{"ü":"\ud83d\ude00\n"},"n":null,"t":[true,false,[]],"e":{},"big":1e400}"#
      let made = try await customer.post(
        "/v1/keys",
        """
        {"name":"n","scopes":["a"],"description":" What it is\\r\\nfor:\\t👩‍💻\\n","tags":["prod","team:a.b_c-d","0"],
         "metadata": \(metadata.replacing(",", with: " ,\n "))}
        """)
      #expect(made.status == 201)
      let id = try #require(made.body["id"].string)
      let rolled = try await customer.post("/v1/keys/\(id)/roll")
      let list = try await customer.get("/v1/keys").body["keys"]
      let expected = try JSONParser.parse(metadata.utf8)
      for key in [
        made.body, try await customer.get("/v1/keys/" + id).body, rolled.body["newKey"], rolled.body["oldKey"], list[0],
        list[1],
      ] {
        #expect(key["description"].string == "What it is\r\nfor:\t👩‍💻")
        #expect(key["tags"].array.compactMap(\.string) == ["prod", "team:a.b_c-d", "0"])
        #expect(key["metadata"] == expected)
      }
    }
  }

  @Test("description, tags and metadata are empty by default; the largest allowed values are accepted")
  func bounds() async throws {
    try await withPortal { portal in
      let customer = try await portal.signUp()
      let plain = try await customer.post(
        "/v1/keys", #"{"name":"n","scopes":["a"],"description":null,"tags":null,"metadata":null}"#)
      #expect(plain.body["description"] == .null && plain.body["metadata"] == .null)
      #expect(plain.body["tags"] == .array([]))
      for blank in ["", " \\n"] {
        let empty = try await customer.post("/v1/keys", #"{"name":"n","scopes":["a"],"description":"\#(blank)"}"#)
        #expect(empty.body["description"].string == "")
      }
      let tags = (0..<16).map { "\"\(String(repeating: "x", count: 30))\(10 + $0)\"" }.joined(separator: ",")
      let largest = try await customer.post(
        "/v1/keys",
        """
        {"name":"n","scopes":["a"],"description":"\(String(repeating: "😀", count: 500))","tags":[\(tags)],
         "metadata":{"a":"\(String(repeating: "x", count: 4_088))"}}
        """)
      #expect(largest.status == 201)
      #expect(largest.body["metadata"]["a"].string?.count == 4_088)
      let deepest = try await customer.post(
        "/v1/keys", #"{"name":"n","scopes":["a"],"metadata":{"a":[[[[[[[7]]]]]]]}}"#)
      #expect(deepest.status == 201)
    }
  }

  @Test("invalid values are refused with their location, and create nothing")
  func refused() async throws {
    try await withPortal { portal in
      let customer = try await portal.signUp()
      for (body, location) in KeySettingsCases.bad {
        let whole = #"{"name":"n","scopes":["a"],"# + body.dropFirst()
        expectProblem(try await customer.post("/v1/keys", whole), 400, "invalid_request", at: location, "\(whole)")
      }
      #expect(try await portal.keyCount() == 0)
    }
  }

  @Test("a key names its creator, and a successor the person who rolled it, also after they have left")
  func maker() async throws {
    try await withPortal { portal in
      let customer = try await portal.signUp()
      let id = try await customer.createKey().id
      let key = try await customer.get("/v1/keys/" + id).body
      #expect(key["createdBy"].names == ["kind", "id", "name"])
      #expect(key["createdBy"]["kind"].string == "user")
      #expect(key["createdBy"]["id"].isID && key["createdBy"]["name"].string == "ada@example.com")
      // Bob joins the account, and Ada leaves it.
      let bob = try await portal.signUp("bob@example.com")
      try await portal.script(
        """
        delete from sessions where account_id = '\(bob.accountID)';
        update memberships set account_id = '\(customer.accountID)' where account_id = '\(bob.accountID)'
        """)
      let login = try await portal.post(
        "/v1/login", #"{"email":"bob@example.com","password":"correct horse battery"}"#)
      let bobsToken = try #require(login.body["token"].string)
      let rolled = try await portal.post("/v1/keys/\(id)/roll", token: bobsToken).body
      #expect(rolled["newKey"]["createdBy"]["name"].string == "bob@example.com")
      try await portal.script(
        """
        delete from sessions;
        delete from memberships where user_id = (select id from users where email = 'ada@example.com')
        """)
      let again = try await portal.post("/v1/login", #"{"email":"bob@example.com","password":"correct horse battery"}"#)
      let token = try #require(again.body["token"].string)
      #expect(try await portal.get("/v1/keys/" + id, token: token).body["createdBy"] == key["createdBy"])
      try await portal.script(
        "update api_keys set created_by_kind = null, created_by_id = null, created_by_name = null")
      #expect(try await portal.get("/v1/keys/" + id, token: token).body["createdBy"] == .null)
    }
  }

  @Test("the list can be filtered by tags, by text in any case and by status, combined, page by page")
  func filters() async throws {
    try await withPortal { portal in
      let customer = try await portal.signUp()
      _ = try await portal.signUp("eve@example.com").createKey(#","tags":["prod"],"description":"Żółć 100%""#)
      var ids: [String] = []
      for more in [
        #","tags":["prod","eu"],"description":"Żółć 100%""#, #","tags":["prod"],"description":"100 of a_b""#,
        #","tags":["eu"]"#, #","description":"a\\b AxB""#, #","tags":["prod","eu","x"],"description":"Billing""#,
      ] {
        ids.append(try await customer.createKey(more).id)
      }
      func found(_ query: String) async throws -> [Int] {
        let answer = try await customer.get("/v1/keys?" + query)
        #expect(answer.status == 200, "\(query)")
        return answer.body["keys"].array.compactMap { $0["id"].string }.compactMap { ids.firstIndex(of: $0) }
      }
      #expect(try await found("tag=prod") == [4, 1, 0])
      #expect(try await found("tag=prod&tag=eu") == [4, 0])
      #expect(try await found("tag=eu&tag=eu") == [4, 2, 0])
      #expect(try await found("tag=pro") == [])
      #expect(try await found("q=100") == [1, 0])
      #expect(try await found("q=100%25") == [0])
      #expect(try await found("q=A_B") == [1])
      #expect(try await found("q=a%5Cb") == [3])
      #expect(try await found("q=%25") == [0])
      #expect(try await found("q=%C5%BB%C3%93%C5%81%C4%86") == [0])
      #expect(try await found("q=bILL") == [4])
      #expect(try await found("q=key").count == 5)
      #expect(try await found("q=LK_LIVE_").count == 5)
      #expect(try await found("q='%3B--") == [])
      _ = try await customer.delete("/v1/keys/" + ids[0])
      #expect(try await found("tag=prod&status=active") == [4, 1])
      #expect(try await found("tag=prod&status=revoked&q=100") == [0])
      let page = try await customer.get("/v1/keys?tag=prod&limit=2")
      let cursor = try #require(page.body["nextCursor"].string)
      #expect(try await found("tag=prod&limit=2&cursor=" + cursor) == [0])
    }
  }

  @Test("an invalid tag or text in the query is refused with its location")
  func badQuery() async throws {
    try await withPortal { portal in
      let customer = try await portal.signUp()
      let many = (0..<17).map { "tag=t\($0)" }.joined(separator: "&")
      for query in ["tag=", "tag=A", "tag=a&tag=*", "tag=%00", "tag=a,b", many] {
        let answer = try await customer.get("/v1/keys?" + query)
        expectProblem(answer, 400, "invalid_request", at: "query.tag", "\(query)")
      }
      for text in ["", "%00", "a%00b", String(repeating: "x", count: 101)] {
        let answer = try await customer.get("/v1/keys?q=" + text)
        expectProblem(answer, 400, "invalid_request", at: "query.q", "\(text)")
      }
      #expect(try await customer.get("/v1/keys?q=" + String(repeating: "%F0%9F%98%80", count: 100)).status == 200)
    }
  }
}
