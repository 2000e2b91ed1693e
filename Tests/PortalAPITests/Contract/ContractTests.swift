import Foundation
import JSON
import PortalAPI
import PortalHTTP
import PortalTesting
import PostgresTesting
import Testing

@Suite("The contract")
struct ContractTests {
  private static let methods: Set = ["get", "put", "post", "delete", "options", "head", "patch", "trace"]

  @Test(
    "openapi.json and openapi.yaml are served as they are in the repository, without authentication",
    arguments: [("openapi.json", "application/json"), ("openapi.yaml", "application/yaml")])
  func files(_ name: String, _ type: String) async throws {
    try await withPortal { portal in
      let answer = try await portal.document("/" + name)
      #expect(answer.status == 200 && answer.headers["content-type"] == type)
      #expect(answer.headers["cache-control"] == "public, no-cache")
      let kept = try String(contentsOfFile: repositoryRoot + "/" + name, encoding: .utf8)
      #expect(answer.text == kept, "build again")
      let tag = try #require(answer.headers["etag"])
      let again = try await portal.document("/" + name, headers: ["If-None-Match": tag])
      #expect(again.status == 304 && again.text.isEmpty && again.headers["etag"] == tag)
      expectProblem(try await portal.get("/\(name)?x=1"), 400, "invalid_request", at: "query.x")
    }
  }

  @Test("the contract has exactly the routes of the server")
  func routes() async throws {
    try await withPortal { portal in
      guard case .object(let paths) = try await portal.contract()["paths"] else {
        Issue.record("there are no paths")
        return
      }
      let documented = paths.flatMap { path, item in
        item.names.filter(Self.methods.contains).map { "\($0.uppercased()) \(path)" }
      }
      #expect(Set(documented).count == documented.count)
      let (documentedSet, served) = (Set(documented), Set(portal.application.table.all))
      #expect(documentedSet.subtracting(served).sorted() == [], "documented, but not served")
      #expect(served.subtracting(documentedSet).sorted() == [], "served, but not documented")
    }
  }

  @Test("each problem code has a page, and its examples have the title and status of the page")
  func problems() async throws {
    try await withPortal { portal in
      let contract = try await portal.contract()
      let codes = contract["components"]["schemas"]["ProblemCode"]["enum"].array.compactMap(\.string)
      #expect(codes.count > 30)
      var pages: [String: String] = [:]
      for code in codes {
        let page = try await portal.document("/problems/" + code)
        #expect(page.status == 200 && page.text.contains("\nCode:   \(code)\n"), "\(code)")
        pages["/problems/" + code] = page.text
      }
      guard case .object(let examples) = contract["components"]["examples"] else {
        Issue.record("there are no examples")
        return
      }
      for (name, example) in examples where example["value"]["type"] != .null {
        let value = example["value"]
        let page = try #require(value["type"].string.flatMap { pages[$0] }, "\(name)")
        #expect(value["title"].string.map(page.hasPrefix) == true, "\(name)")
        #expect(value["status"].integer.map { page.contains("\nStatus: \($0) ") } == true, "\(name)")
      }
    }
  }
}

extension TestPortal {
  fileprivate func contract() async throws -> JSONValue { try await get("/openapi.json").body }
}
