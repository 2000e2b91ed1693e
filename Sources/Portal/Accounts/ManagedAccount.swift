package import Foundation
import JSON

/// An account as a company's backend sees and manages it.
package struct ManagedAccount: Sendable, Equatable {
  /// In code points.
  package static let externalIDLengthMax = 200
  package static let metadataByteCountMax = 16 << 10
  /// Nesting depth of objects and lists, including the outermost object.
  package static let metadataDepthMax = 8

  package var account: Account
  /// The company's own id of its customer, unique among the accounts that are not deleted.
  package var externalID: String?
  /// The text of a JSON object.
  package var metadata: String?
  /// The named limits that its keys share.
  package var limits: [RateLimit] = []
  package var createdAt: Date
  /// What its keys may still be used for together; nil: unlimited. Its balance is as settled, which is at most a second
  /// old.
  package var credits: CreditBalance?

  /// An id is kept as it is, so white space around it is refused, not removed.
  package static func isValid(externalID: String) -> Bool {
    guard (1...externalIDLengthMax).contains(externalID.unicodeScalars.count) else { return false }
    return TypedText.isReadable(externalID, .line) && TypedText.trimmed(externalID).hasSameBytes(as: externalID)
  }

  /// The name of an account that is made for an external id: the id, or its beginning.
  package static func name(for externalID: String) -> String {
    let beginning = String(String.UnicodeScalarView(externalID.unicodeScalars.prefix(Account.nameLengthMax)))
    let name = TypedText.trimmed(beginning.composed)
    let isName = name.unicodeScalars.count <= Account.nameLengthMax && TypedText.isReadable(name, .line)
    return isName ? name : "External account"
  }
}

/// What a backend names an account by.
package enum AccountReference: Sendable, Hashable {
  case id(UUID)
  /// The company's own id of its customer, which is compared by its bytes.
  case externalID(String)

  package static func == (one: AccountReference, other: AccountReference) -> Bool {
    switch (one, other) {
    case (.id(let one), .id(let other)): one == other
    case (.externalID(let one), .externalID(let other)): one.hasSameBytes(as: other)
    default: false
    }
  }

  package func hash(into hasher: inout Hasher) {
    switch self {
    case .id(let id): hasher.combine(id)
    case .externalID(let externalID): hasher.combine(ByteText(externalID))
    }
  }
}

/// The settings of an account that a backend creates.
package struct ManagedAccountSettings: Sendable, Equatable {
  package var name: String
  package var externalID: String?
  /// The text of a JSON object.
  package var metadata: String?
  /// The name of a plan.
  package var plan: String
  /// The named limits that its keys share.
  package var limits: [RateLimit]

  package init(
    name: String, externalID: String? = nil, metadata: String? = nil, plan: String = Plan.externalName,
    limits: [RateLimit] = []
  ) {
    self.name = name
    self.externalID = externalID
    self.metadata = metadata
    self.plan = plan
    self.limits = limits
  }

  init(of account: ManagedAccount) {
    self.init(
      name: account.account.name, externalID: account.externalID, metadata: account.metadata,
      plan: account.account.plan.name, limits: account.limits)
  }

  /// The settings that differ from others besides the plan, as the API names them.
  func changedNames(from other: ManagedAccountSettings) -> [String] {
    let names = ["name", "externalId", "metadata"]
    let texts = [name, externalID, metadata].map { $0.map(ByteText.init) }
    let others = [other.name, other.externalID, other.metadata].map { $0.map(ByteText.init) }
    return zip(names, zip(texts, others)).filter { $1.0 != $1.1 }.map(\.0) + (limits == other.limits ? [] : ["limits"])
  }
}

/// Changes to an account; nil and `.keep` leave a setting unchanged.
package struct ManagedAccountChanges: Sendable, Equatable {
  package var name: String?
  package var externalID: OptionalChange<String>
  package var metadata: OptionalChange<String>
  package var plan: String?
  package var limits: [RateLimit]?
  package var credits: CreditChange?

  package init(
    name: String? = nil, externalID: OptionalChange<String> = .keep, metadata: OptionalChange<String> = .keep,
    plan: String? = nil, limits: [RateLimit]? = nil, credits: CreditChange? = nil
  ) {
    self.name = name
    self.externalID = externalID
    self.metadata = metadata
    self.plan = plan
    self.credits = credits
    self.limits = limits
  }

  func applied(to old: ManagedAccountSettings) -> ManagedAccountSettings {
    var settings = old
    settings.name = name ?? old.name
    settings.plan = plan ?? old.plan
    settings.limits = limits ?? old.limits
    externalID.apply(to: &settings.externalID)
    metadata.apply(to: &settings.metadata)
    return settings
  }
}

/// Which accounts a list has; nil for all.
package struct ManagedAccountFilter: Sendable, Equatable {
  package var externalID: String?
  package var kind: Account.Kind?

  package init(externalID: String? = nil, kind: Account.Kind? = nil) {
    self.externalID = externalID
    self.kind = kind
  }
}
