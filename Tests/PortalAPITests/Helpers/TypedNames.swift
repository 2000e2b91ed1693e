import JSON
import PortalAPI
import PortalHTTP

/// Names that every rule refuses, and bodies with them.
enum TypedNames {
  static let bad: [String] = [
    "", " ", "\n", "\u{A0}\u{3000}", "\u{200B}", "\u{202E}", "\u{202E}olleh", "a\u{202E}b", "\u{2066}a\u{2069}",
    "\u{200E}a",
    "a\u{200F}", "\u{61C}a", "a\u{200B}b", "\u{FEFF}a", "a\u{2060}", "\u{AD}", "\u{3164}", "\u{2800}", "\u{301}",
    "a\nb", "a\tb",
    "a\u{2028}b", "a\u{85}b", "\u{7F}\u{1}", "a\u{1B}[31mb", "a\u{200D}b", "😀\u{200D}", "\u{FFFE}\u{10FFFF}",
    "a\u{E0041}\u{E007F}", String(repeating: "a", count: 101),
  ]

  /// `more` are further members of the body, each with a comma before it.
  static func body(_ name: String, _ more: String = "", as member: StaticString = "name") -> String {
    let body = JSONWriter.object { $0.field(member, name) }
    return String(decoding: body.bytes.dropLast(), as: UTF8.self) + more + "}"
  }
}
