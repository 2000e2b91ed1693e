import Testing

@testable import Portal

@Suite("Scopes for resources")
struct ResourceScopesTests {
  private static let some = ResourceScopes([
    ResourceScopes.Entry(name: "project:2", scopes: ["read"]),
    ResourceScopes.Entry(name: "Project:1", scopes: ["write", "files:*"]),
  ])

  @Test("they are written in the order of their names' bytes, and read back")
  func text() throws {
    #expect(Self.some.text == #"{"Project:1":["write","files:*"],"project:2":["read"]}"#)
    #expect(ResourceScopes(text: Self.some.text) == Self.some)
    #expect(ResourceScopes(text: "{}") == ResourceScopes.none && ResourceScopes.none.isEmpty)
    for text in ["", "[]", "{", #"{"a":"b"}"#, #"{"a":[1]}"#, #"{"a":[],"a":[]}"#] {
      #expect(ResourceScopes(text: text) == nil, "\(text)")
    }
  }

  @Test("a name has 1 to 128 of the allowed characters")
  func names() {
    for name in ["a", "project:123", "a/b@c.example", "A_b-c~d+e=f", String(repeating: "x", count: 128)] {
      #expect(ResourceScopes.isValid(name: name), "\(name)")
    }
    for name in ["", " ", "a b", "a*", "ä", "a\n", "a\"", "a[0]", "@\0", String(repeating: "x", count: 129)] {
      #expect(!ResourceScopes.isValid(name: name), "\(name)")
    }
  }

  @Test("a plan leaves what its patterns cover, and drops resources of which it leaves nothing")
  func intersection() {
    #expect(Self.some.intersection(["*"]) == Self.some)
    #expect(Self.some.intersection(["files:a", "read"]).text == #"{"Project:1":["files:a"],"project:2":["read"]}"#)
    #expect(Self.some.intersection(["read"]).text == #"{"project:2":["read"]}"#)
    #expect(Self.some.intersection(["x"]).isEmpty)
  }

  @Test("scopes in a header field are separated by single spaces")
  func list() {
    #expect(Scope.list(in: "a") == ["a"])
    #expect(Scope.list(in: "a b:c d:*") == ["a", "b:c", "d:*"])
    #expect(Scope.list(in: Array(repeating: "a", count: 64).joined(separator: " "))?.count == 64)
    for text in ["", " ", "a ", " a", "a  b", "a,b", "A", Array(repeating: "a", count: 65).joined(separator: " ")] {
      #expect(Scope.list(in: text) == nil, "\(text)")
    }
  }
}
