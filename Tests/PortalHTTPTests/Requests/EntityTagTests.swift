import Testing

@testable import PortalHTTP

@Suite("EntityTag")
struct EntityTagTests {
  @Test(
    "the revisions of a list are those of its strong tags in the form that the server writes",
    arguments: [
      ("\"7\"", [7]), (" \"7\"\t", [7]), ("\"5\", \"7\"", [5, 7]), ("\"5\",\"7\"", [5, 7]),
      ("\"5\" ,, \"7\",", [5, 7]),
      (",\"7\"", [7]), ("\"0\"", [0]), ("\"9223372036854775807\"", [.max]), ("W/\"7\"", []), ("W/\"5\", \"7\"", [7]),
      ("\"+7\"", []), ("\"-7\"", []), ("\"007\"", []), ("\"00\"", []), ("\"7.0\"", []), ("\"0x7\"", []), ("\"7a\"", []),
      ("\"9223372036854775808\"", []), ("\"99999999999999999999999999\"", []), ("\"\"", []), ("\"*\"", []),
      ("\"x,y\"", []),
      ("\"\u{FF17}\"", []), ("\"x\", \"7\", \"y\"", [7]), ("\"\\\"", []),
    ] as [(String, Set<Int>)])
  func lists(_ text: String, _ revisions: Set<Int>) {
    #expect(EntityTag.revisions(in: text) == revisions)
    #expect(!EntityTag.isAny(text))
  }

  @Test(
    "text that is not a list of tags is refused",
    arguments: [
      "", " ", ",", " , ", "7", "\"7", "7\"", "\"5\" \"7\"", "\"5\";\"7\"", "w/\"7\"", "W\"7\"", "W/7", "W/ \"7\"",
      "\"a b\"", "\"7\"x",
      "\"\\\"7\"", "\"7\u{0}\"", "\"7\u{7F}\"", "*, \"7\"", "\"7\", *", "* , *", "'7'",
    ])
  func noLists(_ text: String) {
    #expect(EntityTag.revisions(in: text) == nil)
  }

  @Test(
    "only an asterisk by itself matches any revision",
    arguments: [("*", true), (" *\t", true), ("**", false), ("\"*\"", false), ("", false)])
  func any(_ text: String, _ isAny: Bool) {
    #expect(EntityTag.isAny(text) == isAny)
  }

  @Test(
    "a list has a tag if it contains it, weak or not",
    arguments: [
      ("\"a1\"", true), ("W/\"a1\"", true), ("\"b\", W/\"a1\"", true), ("\"a1\",,", true), ("\"A1\"", false),
      ("\"a\"", false),
      ("a1", false), ("\"a1", false), ("\"a1\" x", false), ("", false), ("*", false),
    ])
  func listHasTag(_ text: String, _ isThere: Bool) {
    #expect(EntityTag.list(in: text, has: "a1") == isThere)
  }

  @Test("the tag of a revision is parsed as that revision", arguments: [0, 1, 7, 10, 4_096, .max])
  func roundTrip(_ revision: Int) {
    #expect(EntityTag.revisions(in: EntityTag.text(of: revision)) == [revision])
  }
}
