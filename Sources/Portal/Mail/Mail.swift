package import Foundation

/// A mail as it waits in the outbox: what it tells, and what of. Its text is made when it is sent, and so is the token
/// in it, if it has one: no secret waits with it.
package struct Mail: Sendable, Equatable {
  package typealias Kind = MailKind

  /// What the text tells; none of it is secret. Customers chose most of it, so the text takes it as it comes.
  package struct Parameters: Sendable, Equatable, Codable {
    package var accountName: String?
    /// Who did it.
    package var actorName: String?
    /// Who asked for it, where that is another.
    package var requesterName: String?
    package var keyCount: Int?
    package var keyName: String?
    /// The characters by which a customer knows the key.
    package var keyStart: String?
    package var reason: String?
    package var ticket: String?
    /// For people, in UTC.
    package var expiresAt: String?
    package var role: String?

    package init(
      accountName: String? = nil, actorName: String? = nil, requesterName: String? = nil, keyCount: Int? = nil,
      keyName: String? = nil, keyStart: String? = nil, reason: String? = nil, ticket: String? = nil,
      expiresAt: String? = nil, role: String? = nil
    ) {
      self.accountName = accountName
      self.actorName = actorName
      self.requesterName = requesterName
      self.keyCount = keyCount
      self.keyName = keyName
      self.keyStart = keyStart
      self.reason = reason
      self.ticket = ticket
      self.expiresAt = expiresAt
      self.role = role
    }
  }

  package var id: UUID
  package var kind: Kind
  package var recipient: String
  package var accountID: UUID?
  package var userID: UUID?
  package var subjectID: UUID?
  package var parameters = Parameters()
}

/// Why a mail was not taken. `reason` names no address and no secret.
struct MailFailure: Error, Sendable, Equatable {
  var reason: String
  /// Trying again would change nothing.
  var isPermanent = false
}

/// How long to wait before a mail is tried again: twice as long each time, up to a longest wait; and of that a random
/// part between a half and all, so that what failed together does not come back together.
package struct MailBackoff: Sendable {
  package var first: Duration = .seconds(15)
  package var max: Duration = .seconds(3_600)

  package init() {}

  /// After the attempt of this number, the first being 1; `random` is from 0 to 1.
  func delay(after attempt: Int, random: Double) -> Duration {
    // Beyond that many doublings any wait is the longest.
    let doubled = first * Double(1 << min(Swift.max(attempt - 1, 0), 30))
    return Swift.min(doubled, max) * (0.5 + random / 2)
  }
}
