import JSON
package import Portal

extension JSONWriter {
  package mutating func fields(of confirmation: StaffConfirmation) {
    field("id", confirmation.id)
    field("accountId", confirmation.accountID)
    field("accountName", confirmation.accountName)
    field("keys", confirmation.keyCount)
    object("requestedBy") { json in
      json.field("id", confirmation.requesterID)
      json.field("name", confirmation.requesterName)
    }
    field("reason", confirmation.reason.text)
    field("ticket", confirmation.reason.ticket)
    field("createdAt", confirmation.createdAt)
    field("expiresAt", confirmation.expiresAt)
    field("keyIds", confirmation.keyIDs?.map(\.text))
  }
}
