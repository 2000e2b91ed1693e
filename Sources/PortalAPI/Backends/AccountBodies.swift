import JSON
import Portal
import PortalHTTP

extension ManagedAccountSettings: JSONBody {
  static var sizeMax: Int { 64 << 10 }

  init(_ fields: inout RequestFields) throws {
    let name = fields.typedLine("name", 1...Account.nameLengthMax)
    let (externalID, metadata) = (fields.accountExternalID(), fields.accountMetadata())
    let plan = fields.optionalString("plan", 1...Plan.nameLengthMax) ?? Plan.externalName
    let limits = fields.namedLimits()
    self = try fields.finish(name) {
      ManagedAccountSettings(name: $0, externalID: externalID, metadata: metadata, plan: plan, limits: limits)
    }
  }
}

extension ManagedAccountChanges: JSONBody {
  static var sizeMax: Int { ManagedAccountSettings.sizeMax }

  init(_ fields: inout RequestFields) throws {
    self.init(
      name: fields.change("name") { $0.typedLine("name", 1...Account.nameLengthMax) },
      externalID: fields.removableChange("externalId") { $0.accountExternalID() },
      metadata: fields.removableChange("metadata") { $0.accountMetadata() },
      plan: fields.change("plan") { $0.optionalString("plan", 1...Plan.nameLengthMax) },
      limits: fields.change("limits") { $0.namedLimits() }, credits: fields.creditsChange())
    try fields.finish()
  }
}

/// An invitation by a backend.
struct BackendInvitationBody {
  var email: EmailAddress
  var role: MemberRole
  /// The name of the plan that an external account takes when the first person joins.
  var plan: String?
}

extension BackendInvitationBody: JSONBody {
  init(_ fields: inout RequestFields) throws {
    let email = fields.email("email")
    let role: MemberRole? = fields.choice("role")
    let plan = fields.optionalString("plan", 1...Plan.nameLengthMax)
    self = try fields.finish(email, role) { BackendInvitationBody(email: $0, role: $1, plan: plan) }
  }
}

extension ManagedAccountFilter {
  init(_ query: Query) throws(InvalidRequest) {
    let externalID = query.text("externalId")
    if let externalID, !ManagedAccount.isValid(externalID: externalID) {
      throw InvalidRequest("query.externalId", ManagedAccount.externalIDProblem)
    }
    self.init(externalID: externalID, kind: try query.choice("kind", Account.Kind.self))
  }
}

extension RequestFields {
  mutating func accountExternalID() -> String? {
    guard let value = value("externalId") else { return nil }
    guard case .string(let text) = value, ManagedAccount.isValid(externalID: text) else {
      refuse("externalId", ManagedAccount.externalIDProblem)
      return nil
    }
    return text
  }

  fileprivate mutating func accountMetadata() -> String? {
    optionalObjectText(
      "metadata", byteCountMax: ManagedAccount.metadataByteCountMax, depthMax: ManagedAccount.metadataDepthMax)
  }
}

extension ManagedAccount {
  fileprivate static let externalIDProblem = """
    must be a string of 1 to \(externalIDLengthMax) characters, without white space around it, and with no control or \
    invisible characters
    """
}
