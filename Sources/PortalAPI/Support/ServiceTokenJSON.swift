package import Foundation
import JSON
package import Portal

extension JSONWriter {
  package mutating func fields(of token: ServiceTokenDetails, at now: Date) {
    field("id", token.id)
    field("name", token.name)
    field("permissions", token.permissions.map(\.rawValue))
    field("environment", token.environment?.rawValue)
    field("apiIds", token.apiIDs?.map(\.text))
    field("expiresAt", token.expiresAt)
    field("revokedAt", token.revokedAt)
    field("rolledAt", token.rolledAt)
    field("replacesId", token.replacesID)
    field("lastUsedAt", token.lastUsedAt)
    field("createdAt", token.createdAt)
    field("status", token.status(at: now).rawValue)
  }

  package mutating func fields(of issued: IssuedServiceToken, at now: Date) {
    fields(of: issued.details, at: now)
    field("token", issued.secret.reveal())
  }

  package mutating func fields(of rolled: ServiceTokens.Rolled, at now: Date) {
    object("newToken") { $0.fields(of: rolled.successor, at: now) }
    object("oldToken") { $0.fields(of: rolled.predecessor, at: now) }
    propagation(rolled.propagation)
  }
}
