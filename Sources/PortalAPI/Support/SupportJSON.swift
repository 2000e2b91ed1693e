import JSON
package import Portal

extension JSONWriter {
  package mutating func fields(of found: FoundAccount) {
    fields(of: found.account)
    object("plan") { $0.fields(of: found.account.plan) }
    field("suspendedAt", found.account.suspendedAt)
    field("suspensionReason", found.suspensionReason)
    field("createdAt", found.createdAt)
    object("keys") { json in
      json.field("total", found.keys.total)
      json.field("unrevoked", found.keys.unrevoked)
      json.field("live", found.keys.live)
    }
    field("memberCount", found.memberCount)
    objects("members", found.members) { json, member in
      json.fields(of: member.user)
      json.field("role", member.role.rawValue)
    }
  }

  /// An account that was suspended or resumed.
  mutating func fields(ofSuspensionOf account: Account, _ propagation: Propagation) {
    fields(of: account)
    field("suspendedAt", account.suspendedAt)
    self.propagation(propagation)
  }

  /// What became of each text of a list of keys, without the text.
  mutating func results(_ lines: [KeyList.Line]) {
    objects("results", lines) { json, line in
      json.field("result", line.outcome.rawValue)
      json.field("keyId", line.keyID)
      json.field("accountId", line.accountID)
      json.field("revokedAt", line.revokedAt)
    }
  }

  mutating func fields(of report: InstanceReport) {
    field("id", report.id)
    field("name", report.name)
    field("startedAt", report.startedAt)
    field("heartbeatAt", report.heartbeatAt)
    field("leaseMilliseconds", report.leaseMilliseconds)
    field("freshMilliseconds", report.freshMilliseconds)
    field("appliedSeq", report.appliedSeq)
    field("lag", report.lag)
  }
}
