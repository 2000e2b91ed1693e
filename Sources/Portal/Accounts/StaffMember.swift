package import Foundation

/// Somebody who works for the company that runs Latchkey; no customer.
package struct StaffMember: Sendable, Equatable {
  package enum Role: String, Sendable, CaseIterable {
    case support, admin
  }

  package var id: UUID
  package var email: String
  package var name: String
  package var role: Role
}
