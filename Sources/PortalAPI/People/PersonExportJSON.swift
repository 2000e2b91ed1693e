import Foundation
import JSON
package import Portal

extension PersonExports.Export {
  /// Writes one JSON object in pieces. At most a thousand keys or events are in memory at a time.
  package func write(_ write: ([UInt8]) async throws -> Void) async throws {
    try await write(Array(JSONWriter.object { $0.fields(of: record) }.bytes.dropLast()))
    var separator = ""
    func element(of json: JSONWriter) -> [UInt8] {
      defer { separator = "," }
      // Without the brackets of the array.
      return Array(separator.utf8) + json.bytes.dropFirst().dropLast()
    }
    try await write(Array(",\"keys\":[".utf8))
    try await readKeys { keys in
      var json = JSONWriter()
      json.array(keys) { json, key in json.object { $0.fields(of: key) } }
      try await write(element(of: json))
    }
    try await write(Array("],\"auditEvents\":[".utf8))
    separator = ""
    try await readEvents { events in
      var json = JSONWriter()
      json.array(events) { json, event in json.object { $0.fields(ofPersonal: event) } }
      try await write(element(of: json))
    }
    try await write(Array("]}".utf8))
  }
}

extension JSONWriter {
  fileprivate mutating func fields(of record: PersonRecord) {
    object("person") { json in
      json.fields(of: record.user)
      json.field("emailVerifiedAt", record.emailVerifiedAt)
      json.field("createdAt", record.createdAt)
      json.object("secondFactor") { json in
        json.field("enabledAt", record.secondFactorEnabledAt)
        json.field("recoveryCodes", record.recoveryCodeCount)
      }
    }
    objects("memberships", record.memberships) { json, membership in
      json.field("accountId", membership.accountID)
      json.field("accountName", membership.accountName)
      json.field("role", membership.role)
      json.field("joinedAt", membership.joinedAt)
      json.field("accountDeletedAt", membership.accountDeletedAt)
    }
    objects("sessions", record.sessions) { $0.fields(of: $1.session, in: $1.accountID) }
    objects("invitations", record.invitations) { json, invitation in
      json.field("id", invitation.id)
      json.field("accountId", invitation.accountID)
      json.field("email", invitation.email)
      json.field("role", invitation.role)
      json.field("invitedBy", invitation.inviterName)
      json.field("createdAt", invitation.createdAt)
      json.field("expiresAt", invitation.expiresAt)
      json.field("acceptedAt", invitation.acceptedAt)
      json.field("revokedAt", invitation.revokedAt)
    }
    objects("mails", record.mails) { json, mail in
      json.field("id", mail.id)
      json.field("kind", mail.kind)
      json.field("recipient", mail.recipient)
      json.field("accountId", mail.accountID)
      json.field("state", mail.state)
      json.field("createdAt", mail.createdAt)
      json.field("finishedAt", mail.finishedAt)
      json.field("parameters", json: mail.parameters)
    }
    objects("oneTimeTokens", record.tokens) { json, token in
      json.field("purpose", token.purpose)
      json.field("email", token.email)
      json.field("createdAt", token.createdAt)
      json.field("expiresAt", token.expiresAt)
      json.field("usedAt", token.usedAt)
    }
  }

  fileprivate mutating func fields(of key: MadeKey) {
    field("id", key.id)
    field("accountId", key.accountID)
    field("name", key.name)
    field("keyStart", key.start)
    field("createdAt", key.createdAt)
    field("revokedAt", key.revokedAt)
  }

  package mutating func fields(of erasure: PersonErasure) {
    field("id", erasure.id)
    field("erasedAt", erasure.erasedAt)
    field("redactedEvents", erasure.redactedEventCount)
    field("finished", erasure.isFinished)
  }
}
