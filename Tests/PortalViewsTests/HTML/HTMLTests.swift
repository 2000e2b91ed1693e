import Foundation
import PortalViews
import Testing

private func text(_ html: HTML) -> String { String(decoding: html.bytes, as: UTF8.self) }

@Suite("HTML")
struct HTMLTests {
  @Test("values are escaped in text and in attributes, and literals are not")
  func escaping() {
    let value = "<b>&\"'</b>"
    let escaped = "&lt;b&gt;&amp;&quot;&#39;&lt;/b&gt;"
    #expect(text("<p title=\"\(value)\">\(value)</p>") == "<p title=\"\(escaped)\">\(escaped)</p>")
    let nothing: HTML? = nil
    #expect(text("\(7)\(nothing)\(when: false, "<i></i>")\(when: true, "<br>")") == "7<br>")
  }

  @Test("HTML goes into HTML once, and each element of a list is escaped")
  func parts() {
    func item(_ text: String) -> HTML { "<li>\(text)</li>" }
    let inner: HTML = "<ul>\(each: ["a", "<"], item)</ul>"
    #expect(text("<div>\(inner)</div>") == "<div><ul><li>a</li><li>&lt;</li></ul></div>")
  }

  @Test("a NUL, which no document may have, is replaced")
  func nul() { #expect(text("\("a\u{0}b")") == "a\u{FFFD}b") }

  @Test("a choice between texts is escaped like any text", arguments: [true, false])
  func choice(_ isFirst: Bool) { #expect(text("\(isFirst ? "<" : ">")") == (isFirst ? "&lt;" : "&gt;")) }
}

@Suite("Links")
struct LinkTests {
  @Test("values are percent-encoded, so that none becomes another segment, parameter or site")
  func encoding() {
    #expect(Link("/a", query: ["q": "a b&c=d/é", "no": nil, "x": "1"]).text == "/a?q=a%20b%26c%3Dd%2F%C3%A9&x=1")
    let link: Link = "/keys/\("../../x?y#z")/edit"
    #expect(link.text == "/keys/..%2F..%2Fx%3Fy%23z/edit" && link.path == link.text)
    #expect(Link("/keys/\("a")", query: ["b": "c"]).path == "/keys/a")
  }

  @Test(
    "an address to return to is a path of this server and nothing else",
    arguments: [
      "//evil.example", "/\\evil.example", "https://evil.example", "evil", "", "javascript:alert(1)", "/a\nb", "/a b",
      "/a#b", "/a\"b", "/a<b", "/é", "/" + String(repeating: "a", count: 1_000),
    ])
  func refused(_ text: String) { #expect(Link(returning: text) == nil) }

  @Test("an address to return to keeps its query")
  func returning() {
    #expect(Link(returning: "/keys?status=any&q=a%20b")?.text == "/keys?status=any&q=a%20b")
    #expect(Link(returning: "/keys?status=any")?.path == "/keys")
    #expect(Link(returning: "/")?.text == "/")
  }
}

@Suite("Assets")
struct AssetTests {
  @Test("the address of an asset has its hash, and the stylesheet is small and needs nothing else")
  func stylesheet() {
    let asset = Asset.stylesheet
    #expect(asset.link.text == "/assets/\(asset.hash)/latchkey.css" && asset.hash.count == 10)
    #expect(asset.bytes.count <= 14 << 10)
    let text = String(decoding: asset.bytes, as: UTF8.self)
    #expect(!text.contains("@import") && !text.contains("url(") && text.contains("light-dark("))
    #expect(Set(Asset.all.map(\.hash)).count == Asset.all.count)
  }
}
