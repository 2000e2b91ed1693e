import Foundation
import Testing

@testable import Portal

@Suite("Names of the catalog")
struct CatalogNameTests {
  @Test(
    "letters, digits and _ : . * - are allowed",
    arguments: ["a", "orders.read", "documents:*", "*", "A-Z_0", "ANDROID", String(repeating: "x", count: 128)])
  func valid(_ name: String) {
    #expect(CatalogName.isValid(name))
    #expect(CatalogReference(name) == .name(name))
  }

  @Test(
    "anything else is refused: an id, too, and the words of queries",
    arguments: [
      "", " ", "a b", "a/b", "a,b", "(a)", "é", "a\n", "a\0", "and", "OR", "01980E5F-7A10-7C3E-9B1A-2F4D6C8E0A11",
      String(repeating: "x", count: 129),
    ])
  func invalid(_ name: String) { #expect(!CatalogName.isValid(name)) }

  @Test("a reference is an id or a name")
  func references() {
    let id = UUID()
    #expect(CatalogReference(id.uuidString) == .id(id))
    #expect(CatalogReference("a b") == nil)
    #expect(CatalogReference(String(repeating: "x", count: 1_000_000)) == nil)
  }
}
