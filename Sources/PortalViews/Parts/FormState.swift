import JSON

/// What a form shows: the values of its fields, and what is wrong with them.
package struct FormState: Sendable {
  package struct Problem: Sendable, Equatable {
    /// The name of the field; nil for a problem of the whole form.
    package var field: String?
    package var message: String
  }

  private var values: [String: [String]] = [:]
  package private(set) var problems: [Problem] = []

  package init(_ values: [String: String] = [:]) { self.values = values.mapValues { [$0] } }

  package func value(_ name: String) -> String { values[name]?.first ?? "" }

  package func values(_ name: String) -> [String] { values[name] ?? [] }

  package mutating func set(_ name: String, _ value: String...) { values[name] = value }

  package mutating func set(_ name: String, _ values: [String]) { self.values[name] = values }

  /// `message` is a sentence that follows the name of the field in the reader's mind, such as "Enter a name."
  package mutating func refuse(_ field: String?, _ message: String) {
    problems.append(Problem(field: field, message: message))
  }

  package func problems(of field: String) -> [String] { problems.filter { $0.field == field }.map(\.message) }

  /// A field with different values in two forms.
  package struct Difference: Sendable, Equatable {
    package var name: String
    package var mine: String
    package var theirs: String

    package init(name: String, mine: String, theirs: String) {
      (self.name, self.mine, self.theirs) = (name, mine, theirs)
    }
  }

  /// The fields, among those that both have, whose values differ from those of `other`, by name.
  package func differences(from other: FormState) -> [Difference] {
    values.keys.sorted().filter { other.values[$0] != nil && $0 != "revision" && $0 != "expires" }
      .map { Difference(name: $0, mine: value($0), theirs: other.value($0)) }
      .filter { Self.words($0.mine) != Self.words($0.theirs) }
  }

  /// White space does not count as a difference.
  private static func words(_ text: String) -> [ByteText] {
    text.split(whereSeparator: \.isWhitespace).map { ByteText(String($0)) }
  }
}
