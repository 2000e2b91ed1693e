import Portal

/// The grace period of a roll: how long the replaced key or service token keeps working.
struct RollBody: JSONBody {
  static let isOptional = true

  var graceSeconds: Int

  init(_ fields: inout RequestFields) throws {
    let graceSeconds = fields.integer("graceSeconds", 0...Key.graceSecondsMax, default: 0)
    try fields.finish()
    self.graceSeconds = graceSeconds
  }
}

/// The whole policy. A rule that is omitted does not apply.
extension KeyPolicy: JSONBody {
  init(_ fields: inout RequestFields) throws {
    self.init(
      isExpiryRequired: fields.optionalBool("expiryRequired") ?? false,
      maxLifetimeDays: fields.optionalInteger("maxLifetimeDays", 1...KeyPolicy.lifetimeDaysMax),
      isAllowlistRequired: fields.optionalBool("allowlistRequired") ?? false,
      allowedScopes: fields.optionalScopePatterns("allowedScopes"),
      disableAfterIdleDays: fields.optionalInteger("disableAfterIdleDays", 1...KeyPolicy.idleDaysMax))
    try fields.finish()
  }
}
