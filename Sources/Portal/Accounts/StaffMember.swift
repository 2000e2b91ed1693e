package import Foundation

/// An employee of the company that runs Latchkey, as opposed to a customer.
package struct StaffMember: Sendable, Equatable {
  package enum Role: String, Sendable, CaseIterable {
    case support, admin
  }

  package var id: UUID
  package var email: String
  package var name: String
  package var role: Role
}
