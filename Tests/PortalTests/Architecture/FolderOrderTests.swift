import Foundation
import PostgresTesting
import Testing

/// The order of the sources' folders. `docs/ARCHITECTURE.md` ("Floors") describes each.
private let orders: [(module: String, order: FolderOrder)] = [
  (
    "Postgres",
    FolderOrder([
      ["Statements"],
      ["Connection"],
      ["Pool"],
      ["Migrations"],
    ])
  ),
  (
    "Portal",
    FolderOrder([
      ["Values"],
      ["Observability", "Migrations", "Spool"],
      ["Attempts", "Audit", "Clock", "Passwords"],
      ["Coherence", "Credits", "JobRuns", "Mail", "RateLimits", "RequestLimits"],
      ["Accounts", "Catalog", "ServiceTokens", "StandaloneLimits"],
      ["Idempotency", "Keys", "Sessions"],
      ["Credentials", "Usage"],
      ["Analytics", "Members", "Verification"],
      ["Database", "People", "Support", "Transfers"],
      ["Staff"],
      ["Jobs"],
    ])
  ),
  (
    "PortalHTTP",
    FolderOrder([
      ["Connections", "Problems", "TLS"],
      ["Requests"],
      ["Authentication"],
      ["Routing"],
    ])
  ),
  (
    "PortalViews",
    FolderOrder([
      ["HTML"],
      ["Parts"],
      ["Frame"],
      ["Account", "Keys", "People", "Problems"],
    ])
  ),
  (
    "PortalPages",
    FolderOrder([
      ["Requests"],
      ["Answers"],
      ["Account", "Keys", "People"],
      // The file outside folders.
      [""],
    ])
  ),
  (
    "PortalAPI",
    FolderOrder([
      ["Credits", "Problems"],
      ["Accounts", "Audit", "Contract", "Credentials", "Keys", "Operations", "Verification"],
      ["Analytics", "Backends", "Catalog", "FastPath", "Holders", "Sessions", "StandaloneLimits", "Usage"],
      ["Server", "Support"],
      ["People"],
      // The files outside folders.
      [""],
    ])
  ),
]

/// The files below a folder of the repository, by their path from there, sorted.
func sourceFiles(in folder: String) throws -> [SourceFile] {
  let root = URL(filePath: repositoryRoot).appending(path: folder).resolvingSymlinksInPath()
  let urls = FileManager.default.enumerator(at: root, includingPropertiesForKeys: nil)?.compactMap { $0 as? URL } ?? []
  return try urls.filter { $0.pathExtension == "swift" }
    .map { url in
      SourceFile(
        path: String(url.resolvingSymlinksInPath().path.dropFirst(root.path.count + 1)),
        text: try String(contentsOf: url, encoding: .utf8))
    }
    .sorted { $0.path < $1.path }
}

@Suite("The sources are in order")
struct FolderOrderTests {
  @Test("no folder uses a declaration of a folder above or next to it")
  func order() throws {
    for (module, order) in orders {
      let files = try sourceFiles(in: "Sources/\(module)")
      #expect(files.count > 10)
      #expect(order.strayFolders(in: files) == [], "\(module)")
      for violation in order.violations(in: files) { Issue.record("Sources/\(module)/\(violation)") }
    }
  }

  @Test("views have values in and HTML out: they know neither HTTP nor the database")
  func views() throws {
    for file in try sourceFiles(in: "Sources/PortalViews") {
      for module in ["Postgres", "Hummingbird", "HTTPTypes", "PortalHTTP", "NIOCore"]
      where file.text.contains("import \(module)\n") {
        Issue.record("Sources/PortalViews/\(file.path) imports \(module)")
      }
    }
  }

  @Test("SQL is only in statements and migrations")
  func sql() throws {
    for module in [
      "JSON", "Portal", "PortalViews", "PortalHTTP", "PortalPages", "PortalAPI", "PortalApplication", "PortalServer",
    ] {
      let files = try sourceFiles(in: "Sources/\(module)").filter { file in
        !file.path.hasSuffix("Statements.swift") && file.folder != "Migrations"
      }
      for file in files {
        for line in SwiftTokens(file.text).linesOfSQL { Issue.record("Sources/\(module)/\(file.path):\(line): SQL") }
      }
    }
  }

  @Test("no line is longer than 120 characters")
  func lines() throws {
    for folder in ["Sources", "Tests"] {
      for file in try sourceFiles(in: folder) {
        for (number, line) in file.text.split(separator: "\n", omittingEmptySubsequences: false).enumerated()
        where line.count > 120 {
          Issue.record("\(folder)/\(file.path):\(number + 1): \(line.count) characters")
        }
      }
    }
  }

  @Test("test folders are source folders, Architecture or Helpers")
  func testFolders() throws {
    for (module, order) in orders {
      // What PortalHTTP does is also tested through the routes of PortalAPI.
      let known =
        order.floors + (module == "PortalAPI" ? orders.first { $0.module == "PortalHTTP" }?.order.floors ?? [] : [])
      let folders = Set(try sourceFiles(in: "Tests/\(module)Tests").map(\.folder))
      #expect(folders.subtracting(known.joined()).subtracting(["Architecture", "Helpers"]) == [], "\(module)")
    }
    // Files in no folder test the whole program.
    let known = Set(try sourceFiles(in: "Sources/PortalServer").map(\.folder))
    let folders = Set(try sourceFiles(in: "Tests/PortalServerTests").map(\.folder))
    #expect(folders.subtracting(known).subtracting(["Gateways", "Helpers"]) == [])
  }
}

@Suite("The check of the folders' order")
struct FolderOrderCheckTests {
  private let order = FolderOrder([["Ground"], ["One", "Other"], ["Roof"]])

  /// The violations in these files, as `line name declaring folder`.
  private func found(_ texts: (path: String, text: String)...) -> [String] {
    order.violations(in: texts.map { SourceFile(path: $0.path, text: $0.text) })
      .map { "\($0.line) \($0.name) \($0.declaringFolder)" }
  }

  @Test("the use of a type of a folder above or next to it is found; one below is allowed")
  func types() {
    let roof = ("Roof/Roof.swift", "package struct Roof {}")
    let ground = ("Ground/Ground.swift", "enum Ground { case a }")
    for (use, isFound) in [
      ("let a: Roof", true), ("let a: [Roof?]", true), ("let a = 1...Roof.b", true),
      ("func a(_ b: some Sequence<Roof>) {}", true),
      ("let a = \"\\(Roof.self)\"", true), ("let a: Ground", false), ("// Roof", false), ("/* /* */ Roof */", false),
      ("let a = \"Roof\"", false), ("let a = #\"\\(Roof.self)\"#", false), ("let a = #\"\\#(Roof.self)\"#", true),
      ("let a = Other.Roof.self", false),
    ] {
      let expected = isFound ? ["2 Roof Roof"] : []
      #expect(found(roof, ground, ("One/A.swift", "\n" + use)) == expected, "\(use)")
      #expect(found(roof, ground, ("Roof/A.swift", "\n" + use)) == [], "\(use)")
    }
    #expect(found(("One/A.swift", "struct A {}"), ("Other/B.swift", "let b = A()")) == ["1 A One"])
  }

  @Test("private declarations are ignored, and a folder's own declaration takes precedence")
  func ownNames() {
    for declaration in [
      "private struct A {}", "fileprivate func A() {}", "extension String { private var A: Int { 0 } }",
      "private extension String { var A: Int { 0 } }", "struct B { struct A {} }",
    ] {
      #expect(found(("Roof/A.swift", declaration), ("One/B.swift", "let b = A")) == [], "\(declaration)")
    }
    let roof = ("Roof/A.swift", "struct A {}\npackage private(set) var b = 0")
    #expect(found(roof, ("One/B.swift", "struct B { enum A {} }\nlet c: B.A")) == [])
    #expect(found(roof, ("One/B.swift", "struct B<A: Sendable> { let c: A }")) == [])
    #expect(found(roof, ("One/B.swift", "let c = b")) == ["1 b Roof"])
  }

  @Test("a member that an extension adds to a type of another folder is found if its name is unique")
  func members() {
    let ground = ("Ground/Ground.swift", "struct Ground { func c() {} }")
    for (member, use, name) in [
      ("func roofed() {}", "Ground().roofed()", "roofed"), ("static var roof: Int { 0 }", "Ground.roof", "roof"),
      ("enum Tile {}", "Ground.Tile.self", "Tile"), ("init(tiles: Int) {}", "Ground(tiles: 1)", "tiles:"),
    ] {
      let roof = ("Roof/Roof.swift", "extension Ground { \(member) }")
      #expect(found(ground, roof, ("One/A.swift", "let a = \(use)")) == ["1 \(name) Roof"], "\(member)")
    }
    let roof = ("Roof/Roof.swift", "extension Ground { func roofed() {} }")
    for other in [
      "func roofed() {}", "let roofed = 0", "func a(roofed: Int) {}", "enum B { case roofed }", "x { roofed in }",
      "for roofed in x {}", "let (roofed, b) = x",
    ] {
      let files = [ground, roof, ("Other/B.swift", other), ("One/A.swift", "let a = Ground().roofed()")]
      #expect(order.violations(in: files.map { SourceFile(path: $0.0, text: $0.1) }) == [], "\(other)")
    }
  }

  @Test("a violation names its file, its line, the name, and both folders")
  func message() {
    let files = [
      SourceFile(path: "Roof/A.swift", text: "struct A {}"),
      SourceFile(path: "Ground/Deep/B.swift", text: "\n\nlet b = A()"),
    ]
    #expect(
      order.violations(in: files).map(\.description) == [
        "Ground/Deep/B.swift:3: Ground uses A of Roof, which is not below it"
      ])
  }

  @Test("a folder that is missing in the list or in the sources is found")
  func strayFolders() {
    let files = ["Ground/A.swift", "One/A.swift", "Other/A.swift", "Attic/A.swift", "A.swift"]
    #expect(
      order.strayFolders(in: files.map { SourceFile(path: $0, text: "") }) == ["", "Attic", "Roof"])
  }

  @Test("SQL is distinguished from other texts")
  func sql() {
    for text in [
      "select 1", "  insert into keys values (1)", "update keys set a = 1", "delete from keys", "listen a",
      "set a = b", "with a as (select 1) select", "declare a cursor for",
    ] {
      #expect(SwiftTokens("\nlet a = \"\(text)\"").linesOfSQL == [2], "\(text)")
      #expect(SwiftTokens("let a = \"\"\"\n  \(text)\n  \"\"\"").linesOfSQL == [1], "\(text)")
      #expect(SwiftTokens("// \"\(text)\"").linesOfSQL == [], "\(text)")
    }
    for text in ["Select one", "selected", "update", "with a password", "set anew", "to delete from", ""] {
      #expect(SwiftTokens("let a = \"\(text)\"").linesOfSQL == [], "\(text)")
    }
  }
}
