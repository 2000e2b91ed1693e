/// Settings for one transaction, such as `role`. They are set in the round trip of its first statements and end with it
/// (`set_config`, PostgreSQL manual 9.28.1).
public struct PostgresSettings: Sendable, Equatable {
  public static let none = PostgresSettings([:])

  public let values: [String: String]

  public init(_ values: [String: String]) { self.values = values }

  /// These settings, and those of `other` that these do not set.
  func over(_ other: PostgresSettings) -> PostgresSettings {
    PostgresSettings(values.merging(other.values) { own, _ in own })
  }

  /// The SQL of ``commands`` without parameters; for scripts.
  var text: String? {
    values.isEmpty
      ? nil
      : "select "
        + values.map { name, value in
          let (name, value) = (PostgresConnection.quoteLiteral(name), PostgresConnection.quoteLiteral(value))
          return "set_config(\(name), \(value), true)"
        }.joined(separator: ", ")
  }

  /// The commands that apply the settings at the start of the transaction.
  var commands: [PostgresCommand] {
    values.isEmpty ? [] : [PostgresCommand(SetLocally(self))]
  }
}

/// Changes settings in the middle of a transaction.
public struct SetLocally: PostgresStatement {
  public static let sql = """
    select set_config(name, value, true) from unnest($1::text[], $2::text[]) as settings (name, value)
    """
  let settings: PostgresSettings

  public init(_ settings: PostgresSettings) { self.settings = settings }

  public func bind(_ bindings: inout PostgresBindings) {
    bindings.append(Array(settings.values.keys), Array(settings.values.values))
  }
}
