import Portal

/// How long a key, or a service token, goes on working when it is replaced.
struct RollBody: JSONBody {
  static let isOptional = true

  var graceSeconds: Int

  init(_ fields: inout RequestFields) throws {
    let graceSeconds = fields.integer("graceSeconds", 0...Key.graceSecondsMax, default: 0)
    try fields.finish()
    self.graceSeconds = graceSeconds
  }
}

/// The whole policy: a rule that is left out is none.
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
