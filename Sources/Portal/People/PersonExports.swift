package import Foundation
package import Postgres

/// Handing out what is stored about a customer.
package struct PersonExports: Sendable {
  /// Of each list in a ``PersonRecord``, the newest.
  package static let listCountMax = 10_000
  /// Keys or events that are in memory at a time.
  static let pageCountMax = 1_000

  let pool: PostgresPool

  package init(pool: PostgresPool) { self.pool = pool }

  /// Throws `.notFound`.
  package func find(_ email: EmailAddress) async throws -> User {
    guard let found = try await pool.query(FindUserByEmail(email: email), as: .identity).first else {
      throw PortalError.notFound
    }
    return found
  }

  /// Makes ready for reading what is stored. Throws `.notFound`.
  package func export(of id: UUID) async throws -> Export {
    let count = Self.listCountMax
    let (people, memberships, sessions, invitations, mails, tokens) = try await pool.pipeline(
      FindPersonRecord(userID: id), ListMembershipsOfPerson(userID: id, count: count),
      ListSessionsOfPerson(userID: id, count: count), ListInvitationsOfPerson(userID: id, count: count),
      ListMailsOfPerson(userID: id, count: count), ListTokensOfPerson(userID: id, count: count), as: .identity)
    guard var record = people.first else { throw PortalError.notFound }
    (record.memberships, record.sessions, record.invitations) = (memberships, sessions, invitations)
    (record.mails, record.tokens) = (mails, tokens)
    let trails = try await pool.query(ListTrailsOfPerson(userID: id), as: .staff)
    return Export(record: record, pool: pool, trails: trails)
  }

  /// What is stored about somebody. Between two reads it holds nothing in the database.
  package struct Export: Sendable {
    package let record: PersonRecord
    let pool: PostgresPool
    let trails: [AuditTrail]

    /// Hands on all keys that the person made, a thousand at most at a time.
    package func readKeys(_ sink: ([MadeKey]) async throws -> Void) async throws {
      for trail in trails where trail.accountID != nil {
        var last: UUID?
        repeat {
          let found = try await pool.query(
            ListKeysOfPerson(trail: trail, userID: record.user.id, after: last, count: pageCountMax), as: .staff)
          if !found.isEmpty { try await sink(found) }
          last = found.count < pageCountMax ? nil : found.last?.id
        } while last != nil
      }
    }

    /// Hands on all events of what the person did, and of what was done to them, trail by trail, a thousand at most at
    /// a time. Of what others did the address they came from is theirs, and left out.
    package func readEvents(_ sink: ([ChainedAuditEvent]) async throws -> Void) async throws {
      for trail in trails {
        let end = try await pool.query(FindAuditHead(trail: trail), as: .staff).first ?? 0
        var last = 0
        while last < end {
          let (_, found) = try await pool.pipeline(
            ForceCustomPlan(),
            ListEventsOfPerson(trail: trail, userID: record.user.id, after: last, end: end, count: pageCountMax),
            as: .staff)
          let own = found.map { event in
            var event = event
            if event.actorID != record.user.id { event.ip = nil }
            return event
          }
          if !own.isEmpty { try await sink(own) }
          last = found.count < pageCountMax ? end : found.last?.seq ?? end
        }
      }
    }
  }
}
