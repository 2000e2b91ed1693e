package import Foundation
package import Portal

extension JSONWriter {
  /// A `Key` of the contract, and beside it what `more` adds.
  mutating func object(_ key: Key, at now: Date, _ more: (inout JSONWriter) -> Void = { _ in }) {
    object { json in
      json.fields(of: key, at: now)
      more(&json)
    }
  }

  package mutating func fields(of key: Key, at now: Date) {
    field("id", key.id)
    field("name", key.name)
    field("start", key.start)
    field("environment", key.environment.rawValue)
    field("scopes", key.scopes)
    field("rateLimitPerMinute", key.rateLimitPerMinute)
    array("limits", key.limits) { json, limit in
      json.object { json in
        json.field("name", limit.name)
        json.field("limit", limit.limit)
        json.field("windowSeconds", limit.windowSeconds)
      }
    }
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
    if let maker = key.createdBy {
      object("createdBy") { json in
        json.field("kind", maker.kind)
        json.field("id", maker.id)
        json.field("name", maker.name)
      }
    } else {
      field("createdBy", json: nil)
    }
    object("effective") { json in
      json.field("scopes", key.effectiveScopes)
      json.field("rateLimitPerMinute", key.effectiveRateLimitPerMinute)
      json.field("expiresAt", key.effectiveExpiresAt)
    }
    array("policyViolations", key.policyViolations) { json, violation in json.object { $0.fields(of: violation) } }
  }

  package mutating func propagation(_ propagation: Propagation) {
    object("propagation") { json in
      json.field("instances", propagation.instances)
      json.field("acknowledged", propagation.acknowledged)
      json.field("milliseconds", propagation.milliseconds)
    }
  }
}
