package import Foundation

/// A member of staff as admins see them.
package struct StaffDetails: Sendable, Equatable {
  package var member: StaffMember
  package var disabledAt: Date?
  /// Since when logging in takes a second factor; nil: it does not.
  package var secondFactorEnabledAt: Date?
  package var createdAt: Date
  /// Counts the changes of what they may do.
  package var revision: Int

  package var isEnabled: Bool { disabledAt == nil }
  /// Whether they may do whatever staff do.
  var isActiveAdmin: Bool { isEnabled && member.role == .admin }

  /// Their address: once they are removed, an id identifies nobody.
  var auditDetail: AuditDetail { AuditDetail(member.email) }
}

extension [StaffDetails] {
  /// Throws `.lastAdmin` where nobody else is left who may do whatever staff do.
  func checkActiveAdmin(otherThan id: UUID) throws(PortalError) {
    guard contains(where: { $0.isActiveAdmin && $0.member.id != id }) else { throw .lastAdmin }
  }
}

/// What an admin changes of a member of staff; nil leaves it as it is.
package struct StaffChanges: Sendable, Equatable {
  package var role: StaffMember.Role?
  package var isEnabled: Bool?

  package init(role: StaffMember.Role? = nil, isEnabled: Bool? = nil) {
    self.role = role
    self.isEnabled = isEnabled
  }
}
