/// A page, read strictly: everything that a browser would have to guess is a problem, and so is everything that the
/// pages' own rules forbid (docs/PAGES.md).
package struct HTMLDocument {
  package struct Element {
    package var name: String
    package var attributes: [String: String]
    /// The name of the element that it is in; nil for the first.
    package var parent: String?
    /// The text in it, without that of elements in it.
    package var text = ""
  }

  private static let voids: Set<String> = ["meta", "link", "input", "br", "path", "rect"]
  /// What ends a paragraph in the eyes of a browser.
  private static let blocks: Set<String> = [
    "p", "div", "ul", "ol", "dl", "form", "table", "fieldset", "pre", "h1", "h2", "details", "figure", "nav", "header",
    "main", "footer",
  ]
  private static let allowedPrefixes = ["/", "#"]

  /// In the order of their beginnings.
  package private(set) var elements: [Element] = []
  package private(set) var problems: [String] = []

  package init(_ text: String) {
    var reader = Reader(text: Array(text.utf8))
    var open: [Int] = []
    if !reader.take("<!doctype html>") { problems.append("it does not begin with a doctype") }
    while !reader.isAtEnd {
      let run = reader.takeText(&problems)
      if let last = open.last {
        elements[last].text += run
      } else if !run.allSatisfy(\.isWhitespace) {
        problems.append("text outside of the document: \(run.prefix(40))")
      }
      if reader.isAtEnd { break }
      if reader.take("</") {
        let name = reader.takeName()
        if !reader.take(">") { problems.append("</\(name) is not closed") }
        if let last = open.popLast(), elements[last].name == name { continue }
        problems.append("</\(name)> ends another element")
        return
      }
      _ = reader.take("<")
      guard case (var element, let isClosed)? = reader.takeElement(&problems) else { return }
      let parents = open.map { elements[$0].name }
      if parents.contains("p"), Self.blocks.contains(element.name) {
        problems.append("<\(element.name)> in <p>")
      }
      element.parent = parents.last
      elements.append(element)
      if !Self.voids.contains(element.name), !isClosed { open.append(elements.count - 1) }
    }
    for index in open { problems.append("<\(elements[index].name)> is not ended") }
    checkRules()
  }

  package func all(_ name: String) -> [Element] { elements.filter { $0.name == name } }

  /// The value of an input.
  package func value(_ name: String) -> String? {
    all("input").first { $0.attributes["name"] == name }?.attributes["value"]
  }

  private mutating func checkRules() {
    func count(_ name: String) -> Int { all(name).count }
    for name in ["html", "head", "body", "main", "h1"] where count(name) != 1 {
      problems.append("\(count(name)) elements <\(name)>")
    }
    // The parts of a chart have titles, too.
    let titles = all("title").filter { $0.parent == "head" }
    if titles.count != 1 || titles.contains(where: { $0.text.allSatisfy(\.isWhitespace) }) {
      problems.append("not one title")
    }
    let ids = elements.compactMap { $0.attributes["id"] }
    for (id, same) in Dictionary(grouping: ids, by: { $0 }) where same.count > 1 || id.isEmpty {
      problems.append("the id \(id) \(same.count) times")
    }
    let known = Set(ids)
    for element in elements {
      for name in ["for", "aria-describedby", "aria-labelledby"] {
        for id in element.attributes[name]?.split(separator: " ") ?? [] where !known.contains(String(id)) {
          problems.append("\(name)=\(id) leads nowhere")
        }
      }
      if element.name == "script" || element.name == "style" || element.attributes["style"] != nil {
        problems.append("script or style in <\(element.name)>")
      }
      if element.attributes.keys.contains(where: { $0.hasPrefix("on") }) { problems.append("an event handler") }
      for name in ["href", "src", "action"] {
        guard let address = element.attributes[name] else { continue }
        if !Self.allowedPrefixes.contains(where: address.hasPrefix) || address.hasPrefix("//") {
          problems.append("\(name)=\(address)")
        }
        if address.hasPrefix("#"), !known.contains(String(address.dropFirst())) {
          problems.append("the link \(address) leads nowhere")
        }
      }
    }
    let labelled = Set(all("label").compactMap { $0.attributes["for"] })
    for element in elements where ["input", "select", "textarea"].contains(element.name) {
      if element.attributes["type"] == "hidden" { continue }
      guard let id = element.attributes["id"], labelled.contains(id) else {
        problems.append("the field \(element.attributes["name"] ?? "without a name") has no label")
        continue
      }
    }
  }
}

private struct Reader {
  private static let entities = ["&amp;", "&lt;", "&gt;", "&quot;", "&#39;"]

  private let text: [UInt8]
  private var index = 0

  init(text: [UInt8]) { self.text = text }

  var isAtEnd: Bool { index == text.count }

  mutating func take(_ token: String) -> Bool {
    guard text[index...].starts(with: token.utf8) else { return false }
    index += token.utf8.count
    return true
  }

  private mutating func take(while condition: (UInt8) -> Bool) -> String {
    let start = index
    while index < text.count, condition(text[index]) { index += 1 }
    return String(decoding: text[start..<index], as: UTF8.self)
  }

  /// Up to the next tag.
  mutating func takeText(_ problems: inout [String]) -> String {
    decoded(take { $0 != UInt8(ascii: "<") }, &problems)
  }

  mutating func takeName() -> String {
    take {
      (UInt8(ascii: "a")...UInt8(ascii: "z")).contains($0 | 0x20)
        || (UInt8(ascii: "0")...UInt8(ascii: "9")).contains($0)
        || $0 == UInt8(ascii: "-")
    }
  }

  private mutating func skipSpace() {
    _ = take { $0 == UInt8(ascii: " ") || $0 == UInt8(ascii: "\n") }
  }

  /// The element whose `<` was taken; nil if it cannot be read.
  mutating func takeElement(_ problems: inout [String]) -> (HTMLDocument.Element, isClosed: Bool)? {
    var element = HTMLDocument.Element(name: takeName(), attributes: [:], parent: nil)
    guard !element.name.isEmpty else {
      problems.append("a < that begins no element")
      return nil
    }
    while true {
      skipSpace()
      if take("/>") { return (element, true) }
      if take(">") { return (element, false) }
      let name = takeName()
      guard !name.isEmpty else {
        problems.append("an attribute of <\(element.name)> has no name")
        return nil
      }
      var value = ""
      if take("=") {
        guard take("\"") else {
          problems.append("\(name) of <\(element.name)> has no quotes")
          return nil
        }
        let raw = take { $0 != UInt8(ascii: "\"") }
        if raw.utf8.contains(UInt8(ascii: "<")) { problems.append("\(name) of <\(element.name)> has a tag") }
        value = decoded(raw, &problems)
        guard take("\"") else {
          problems.append("\(name) of <\(element.name)> has no end")
          return nil
        }
      }
      if element.attributes.updateValue(value, forKey: name) != nil {
        problems.append("\(name) of <\(element.name)> twice")
      }
    }
  }

  private func decoded(_ text: String, _ problems: inout [String]) -> String {
    if text.utf8.contains(UInt8(ascii: ">")) { problems.append("a > that ends no tag: \(text.prefix(40))") }
    for part in text.split(separator: "&", omittingEmptySubsequences: false).dropFirst()
    where !Self.entities.contains(where: { ("&" + part).hasPrefix($0) }) {
      problems.append("a & that begins no entity: \(part.prefix(20))")
    }
    return text.replacing("&lt;", with: "<").replacing("&gt;", with: ">").replacing("&quot;", with: "\"")
      .replacing("&#39;", with: "'").replacing("&amp;", with: "&")
  }
}
