/// Settings that hold for one transaction, `role` among them: they are set in the round trip of its first statements
/// and gone with its end (`set_config`, PostgreSQL manual 9.28.1).
public struct PostgresSettings: Sendable, Equatable {
  public static let none = PostgresSettings([:])

  public let values: [String: String]

  public init(_ values: [String: String]) { self.values = values }

  /// These, and of `other` what these do not set.
  func over(_ other: PostgresSettings) -> PostgresSettings {
    PostgresSettings(values.merging(other.values) { own, _ in own })
  }

  /// The same as ``commands``, without parameters.
  var text: String? {
    values.isEmpty
      ? nil
      : "select "
        + values.map { name, value in
          let (name, value) = (PostgresConnection.quoteLiteral(name), PostgresConnection.quoteLiteral(value))
          return "set_config(\(name), \(value), true)"
        }.joined(separator: ", ")
  }

  /// What opens the transaction.
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
