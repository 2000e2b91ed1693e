package import Foundation
import JSON
package import Portal

extension JSONWriter {
  package mutating func propagation(_ propagation: Propagation) {
    object("propagation") { json in
      json.field("instances", propagation.instances)
      json.field("acknowledged", propagation.acknowledged)
      json.field("milliseconds", propagation.milliseconds)
    }
  }

  /// The revocation of a key or of a service token.
  package mutating func revocation(of id: UUID, at revokedAt: Date, _ propagation: Propagation) {
    field("id", id)
    field("revokedAt", revokedAt)
    self.propagation(propagation)
  }

  mutating func fields(of revoked: Keys.Revoked) {
    revocation(of: revoked.id, at: revoked.revokedAt, revoked.propagation)
  }

  /// The revocation of all keys of an account.
  mutating func revocation(ofKeys count: Int, _ propagation: Propagation) {
    field("revoked", count)
    self.propagation(propagation)
  }
}
