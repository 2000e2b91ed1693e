package import Foundation

/// A member of staff, as admins see them.
package struct StaffDetails: Sendable, Equatable {
  package var member: StaffMember
  package var disabledAt: Date?
  /// When the second factor was enabled; nil if login does not require one.
  package var secondFactorEnabledAt: Date?
  package var createdAt: Date
  /// The number of changes of their role and of whether they are enabled.
  package var revision: Int

  package var isEnabled: Bool { disabledAt == nil }
  /// Whether they can log in as an admin.
  var isActiveAdmin: Bool { isEnabled && member.role == .admin }

  /// Their address in the trail, because an id identifies nobody once they are removed.
  var auditDetail: AuditDetail { AuditDetail(member.email) }
}

extension [StaffDetails] {
  /// Throws `.lastAdmin` if there is no other active admin.
  func checkActiveAdmin(otherThan id: UUID) throws(PortalError) {
    guard contains(where: { $0.isActiveAdmin && $0.member.id != id }) else { throw .lastAdmin }
  }
}

/// Changes to a member of staff; nil leaves a value unchanged.
package struct StaffChanges: Sendable, Equatable {
  package var role: StaffMember.Role?
  package var isEnabled: Bool?

  package init(role: StaffMember.Role? = nil, isEnabled: Bool? = nil) {
    self.role = role
    self.isEnabled = isEnabled
  }
}
