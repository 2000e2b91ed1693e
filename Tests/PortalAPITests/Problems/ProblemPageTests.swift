import PortalAPI
import PortalHTTP
import PortalTesting
import Testing

@Suite("GET /problems/{code}")
struct ProblemPageTests {
  @Test("the type of a problem leads to a plain text page that explains it")
  func page() async throws {
    try await withPortal { portal in
      let problem = try await portal.get("/v1/me")
      expectProblem(problem, 401, "unauthenticated")
      let page = try await portal.document(try #require(problem.body["type"].string))
      #expect(page.status == 200)
      #expect(page.headers["content-type"] == "text/plain; charset=utf-8")
      let lines = page.text.split(separator: "\n")
      #expect(
        lines.prefix(4) == [
          "Unauthenticated", "Code:   unauthenticated", "Status: 401 Unauthorized", "What it means",
        ])
      #expect(lines.contains("What you can do") && page.text.hasSuffix(".\n"))
    }
  }

  @Test(
    "a code that no client receives has no page",
    arguments: ["client_gone", "nothing", "Not_found", "not-found", "%00"])
  func unknownCodes(_ code: String) async throws {
    try await withPortal { portal in
      expectProblem(try await portal.get("/problems/" + code), 404, "not_found")
      expectProblem(try await portal.get("/problems"), 404, "not_found")
    }
  }

  @Test("an unchanged page is not sent again")
  func unchanged() async throws {
    try await withPortal { portal in
      let path = "/problems/not_found"
      let first = try await portal.document(path)
      let tag = try #require(first.headers["etag"])
      #expect(first.headers["cache-control"] == "public, no-cache")
      for known in [tag, "W/" + tag, "\"x\", " + tag, "*"] {
        let again = try await portal.document(path, headers: ["If-None-Match": known])
        #expect(again.status == 304 && again.text.isEmpty, "\(known)")
        #expect(again.headers["etag"] == tag && again.headers["cache-control"] == "public, no-cache", "\(known)")
      }
      let other = try #require(try await portal.document("/problems/forbidden").headers["etag"])
      for unknown in [other, String(tag.dropLast()), "x", ""] {
        let again = try await portal.document(path, headers: ["If-None-Match": unknown])
        #expect(again.status == 200 && again.text == first.text, "\(unknown)")
      }
    }
  }
}
