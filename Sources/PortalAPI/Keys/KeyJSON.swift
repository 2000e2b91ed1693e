package import Foundation
import JSON
package import Portal
import PortalHTTP

extension JSONWriter {
  /// A key that staff or an operator has found, which may belong to any account.
  package mutating func fields(ofFound key: Key, at now: Date) {
    fields(of: key, at: now)
    field("accountId", key.accountID)
  }

  mutating func fields(of updated: Keys.Updated, at now: Date) {
    fields(of: updated.key, at: now)
    propagation(updated.propagation)
  }

  /// A `Key` of the contract.
  package mutating func fields(of key: Key, at now: Date) {
    field("id", key.id)
    field("name", key.name)
    field("start", key.start)
    field("environment", key.environment.rawValue)
    field("scopes", key.scopes)
    field("rateLimitPerMinute", key.rateLimitPerMinute)
    objects("limits", key.limits) { $0.fields(of: $1) }
    field("rateLimitMode", key.rateLimitMode.rawValue)
    field("allowedIPs", key.allowedIPs?.map(\.description))
    field("expiresAt", key.expiresAt)
    field("revokedAt", key.revokedAt)
    field("lastUsedAt", key.lastUsedAt)
    field("totalRequests", key.totalRequests)
    field("createdAt", key.createdAt)
    field("status", key.status(at: now).rawValue)
    field("description", key.description)
    field("tags", key.tags)
    field("metadata", json: key.metadata)
    if let creator = key.createdBy {
      object("createdBy") { json in
        json.field("kind", creator.kind)
        json.field("id", creator.id)
        json.field("name", creator.name)
      }
    } else {
      field("createdBy", json: nil)
    }
    field("apiId", key.apiID)
    field("prefix", key.prefix)
    field("byteLength", key.byteLength)
    field("resources", json: key.resources.text)
    field("roles", key.roles)
    field("permissions", key.permissions)
    credits(key.credits)
    object("effective") { json in
      json.field("scopes", key.effectiveScopes)
      json.field("rateLimitPerMinute", key.effectiveRateLimitPerMinute)
      json.field("expiresAt", key.effectiveExpiresAt)
      json.field("permissions", key.effectivePermissions)
      json.field("resources", json: key.effectiveResources.text)
      json.field("roles", key.effectiveRoles)
      json.field("apiIds", key.effectiveAPIIDs?.map(\.text))
    }
    objects("policyViolations", key.policyViolations) { $0.fields(of: $1) }
  }

  /// A named limit of a key or an account.
  mutating func fields(of limit: RateLimit) {
    field("name", limit.name)
    if let bucket = limit.bucket {
      object("bucket") { $0.fields(of: bucket) }
    } else {
      field("limit", limit.limit)
      field("windowSeconds", limit.windowSeconds)
      field("windowMilliseconds", limit.windowMilliseconds)
    }
    field("autoApply", limit.isAutomatic)
  }

  mutating func fields(of policy: KeyPolicy) {
    field("expiryRequired", policy.isExpiryRequired)
    field("maxLifetimeDays", policy.maxLifetimeDays)
    field("allowlistRequired", policy.isAllowlistRequired)
    field("allowedScopes", policy.allowedScopes)
    field("disableAfterIdleDays", policy.disableAfterIdleDays)
  }
}
