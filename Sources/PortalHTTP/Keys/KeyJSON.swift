import Foundation
package import Portal

extension JSONWriter {
  /// A `Key` of the contract, and beside it what `more` adds.
  mutating func object(_ key: Key, at now: Date, _ more: (inout JSONWriter) -> Void = { _ in }) {
    object { json in
      json.fields(of: key, at: now)
      more(&json)
    }
  }

  mutating func fields(of key: Key, at now: Date) {
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
  }

  package mutating func propagation(_ propagation: Propagation) {
    object("propagation") { json in
      json.field("instances", propagation.instances)
      json.field("acknowledged", propagation.acknowledged)
      json.field("milliseconds", propagation.milliseconds)
    }
  }
}
