import JSON
import Portal

extension JSONWriter {
  mutating func fields(of view: HeldKeyView) {
    let key = view.key
    field("id", key.id)
    field("name", key.name)
    field("environment", key.environment.rawValue)
    field("apiIds", key.effectiveAPIIDs?.map(\.text))
    field("status", view.status.rawValue)
    field("createdAt", key.createdAt)
    field("expiresAt", key.effectiveExpiresAt)
    field("revokedAt", key.revokedAt)
    field("rolledAt", key.rolledAt)
    field("rollBy", view.rollBy)
    field("scopes", key.effectiveScopes)
    field("roles", key.effectiveRoles)
    field("permissions", key.effectivePermissions)
    field("resources", json: key.effectiveResources.text)
    fields(of: view.limits)
    if let remaining = view.remainingCredits {
      object("credits") { $0.field("remaining", remaining) }
    } else {
      field("credits", nil as String?)
    }
    object("usage") { json in
      json.field("date", view.today.from.description)
      json.field("totalRequests", view.today.summary.totalRequests)
      json.field("successes", view.today.summary.successes)
      json.field("errors", view.today.summary.errors)
      json.field("denied", view.today.summary.denied)
      json.field("completeThrough", view.today.completeThrough)
    }
  }
}
