import JSON
package import Portal

extension JSONWriter {
  /// The id and the name of an account. The other members of a response depend on the route.
  package mutating func fields(of account: Account) {
    field("id", account.id)
    field("name", account.name)
  }

  /// An account for a backend.
  mutating func fields(of account: ManagedAccount) {
    fields(of: account.account)
    field("kind", account.account.kind.rawValue)
    field("externalId", account.externalID)
    field("metadata", json: account.metadata)
    object("plan") { $0.fields(of: account.account.plan) }
    objects("limits", account.limits) { $0.fields(of: $1) }
    field("suspendedAt", account.account.suspendedAt)
    field("createdAt", account.createdAt)
    credits(account.credits)
  }

  package mutating func fields(of user: User) {
    field("id", user.id)
    field("email", user.email)
  }

  mutating func fields(of account: OwnAccount, isCurrent: Bool) {
    field("id", account.id)
    field("name", account.name)
    field("role", account.role.rawValue)
    field("suspendedAt", account.suspendedAt)
    field("isCurrent", isCurrent)
  }

  mutating func fields(of deleted: DeletedAccount) {
    field("id", deleted.id)
    field("deletedAt", deleted.deletedAt)
    field("revokedKeys", deleted.revokedKeyCount)
    propagation(deleted.propagation)
  }
}
