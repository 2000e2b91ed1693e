import Foundation
import Postgres
import Synchronization

/// The endpoint limits of an api, in the form that verification needs. The keys for the api share them.
final class CompiledEndpointLimits: Sendable {
  let apiID: UUID
  /// Of what was compiled.
  let digest: String
  /// An error if the database has something that no api can have.
  let limits: Result<EndpointLimits, PostgresError>

  init(apiID: UUID, digest: String, limits: Result<EndpointLimits, PostgresError>) {
    self.apiID = apiID
    self.digest = digest
    self.limits = limits
  }

  /// The limit of a key with these roles for the endpoint that a request names; nil if no pattern matches it.
  func limit(for endpoint: String, roles: [String]) -> (limit: RateLimit, apiID: UUID)? {
    guard let entry = (try? limits.get())?.entry(for: endpoint) else { return nil }
    return (.ofEndpoints(entry.pattern.text, entry.limit(roles: roles)), apiID)
  }
}

/// The endpoint limits that this instance has read, by api: the latest ones of each.
final class EndpointLimitsShelf: Sendable {
  /// The maximum number of apis. When it is reached, all limits are dropped and read again.
  private static let countMax = 4_096

  private let known = Mutex<[UUID: CompiledEndpointLimits]>([:])

  /// The limits of these keys' apis, and the apis whose limits have to be read. A key has the digest of the limits that
  /// its api had in the same snapshot. Limits that are read after that are the same or newer; if they are newer, the
  /// log drops the key once more.
  func find(
    for keys: some Sequence<VerifiableKey>
  ) -> (found: [UUID: CompiledEndpointLimits], unread: [UUID]) {
    var digests: [UUID: String] = [:]
    for key in keys {
      guard let apiID = key.grants?.apiID, let digest = key.grants?.endpointLimitsDigest else { continue }
      digests[apiID] = digest
    }
    if digests.isEmpty { return ([:], []) }
    return known.withLock { known in
      var (found, unread): ([UUID: CompiledEndpointLimits], [UUID]) = ([:], [])
      for (apiID, digest) in digests {
        if let limits = known[apiID], limits.digest == digest { found[apiID] = limits } else { unread.append(apiID) }
      }
      return (found, unread)
    }
  }

  func store(_ read: [CompiledEndpointLimits]) {
    known.withLock { known in
      if known.count + read.count > Self.countMax { known.removeAll() }
      for limits in read { known[limits.apiID] = limits }
    }
  }
}
