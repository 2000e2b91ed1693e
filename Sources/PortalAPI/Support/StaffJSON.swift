import JSON
package import Portal

extension JSONWriter {
  /// The identity of a member of staff.
  mutating func fields(of member: StaffMember) {
    field("id", member.id)
    field("email", member.email)
    field("name", member.name)
  }

  package mutating func fields(of member: StaffDetails) {
    fields(of: member.member)
    field("role", member.member.role.rawValue)
    field("disabledAt", member.disabledAt)
    field("secondFactorEnabledAt", member.secondFactorEnabledAt)
    field("createdAt", member.createdAt)
  }
}
