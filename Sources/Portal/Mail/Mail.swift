package import Foundation

/// A mail in the outbox: its kind, recipient and parameters. Its text, and its token if it has one, are made when it is
/// sent, so that no secret is stored with it.
package struct Mail: Sendable, Equatable {
  package typealias Kind = MailKind

  /// The values that appear in the text. None is secret. Customers chose most of them, so the text quotes them.
  package struct Parameters: Sendable, Equatable, Codable {
    package var accountName: String?
    /// The name of the actor who did it.
    package var actorName: String?
    /// The name of the person who requested it, if that is not the actor.
    package var requesterName: String?
    package var keyCount: Int?
    package var keyName: String?
    /// The first characters of the key, by which a customer recognizes it.
    package var keyStart: String?
    package var reason: String?
    package var ticket: String?
    /// Formatted for people, in UTC.
    package var expiresAt: String?
    package var role: String?
    /// Whether the holder of the key acted, who has no name. Nil: no.
    package var isByHolder: Bool?
    /// Whether only some of the account's keys were revoked. Nil: all.
    package var isPartial: Bool?

    package init(
      accountName: String? = nil, actorName: String? = nil, requesterName: String? = nil, keyCount: Int? = nil,
      keyName: String? = nil, keyStart: String? = nil, reason: String? = nil, ticket: String? = nil,
      expiresAt: String? = nil, role: String? = nil, isByHolder: Bool? = nil,
      isPartial: Bool? = nil
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
      self.isByHolder = isByHolder
      self.isPartial = isPartial
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

/// The reason a mail was not accepted. `reason` contains no address and no secret.
struct MailFailure: Error, Sendable, Equatable {
  var reason: String
  /// Whether another attempt would fail, too.
  var isPermanent = false
}

/// The delay before another attempt at a mail: it doubles each time up to `max`, and is multiplied by a random factor
/// between 0.5 and 1, so that mails that failed together are not retried together.
package struct MailBackoff: Sendable {
  package var first: Duration = .seconds(15)
  package var max: Duration = .seconds(3_600)

  package init() {}

  /// The delay after attempt number `attempt`, counted from 1. `random` is from 0 to 1.
  func delay(after attempt: Int, random: Double) -> Duration {
    // After 30 doublings any delay exceeds `max`.
    let doubled = first * Double(1 << min(Swift.max(attempt - 1, 0), 30))
    return Swift.min(doubled, max) * (0.5 + random / 2)
  }
}
