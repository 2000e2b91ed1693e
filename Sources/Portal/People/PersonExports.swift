package import Foundation
package import Postgres

/// Exports what is stored about a customer.
package struct PersonExports: Sendable {
  /// The most entries of each list in a ``PersonRecord``; the newest are exported.
  static let listCountMax = 10_000
  /// The most keys or events in memory at a time.
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

  /// Reads the person's record and prepares to read their keys and events. Throws `.notFound`.
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

  /// The data stored about a person. Between two reads it holds no lock and no connection.
  package struct Export: Sendable {
    package let record: PersonRecord
    let pool: PostgresPool
    let trails: [AuditTrail]

    /// Passes all keys that the person created to `sink`, at most a thousand at a time.
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

    /// Passes all events whose actor or target is the person to `sink`, trail by trail, at most a thousand at a time.
    /// The IP address of an event is left out if the actor is somebody else.
    package func readEvents(_ sink: ([ChainedAuditEvent]) async throws -> Void) async throws {
      for trail in trails {
        let end = try await pool.query(FindAuditHead(trail: trail), as: .staff).first ?? 0
        var last = 0
        while last < end {
          let found = try await pool.pipeline(
            ForceCustomPlan(),
            then: ListEventsOfPerson(trail: trail, userID: record.user.id, after: last, end: end, count: pageCountMax),
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
