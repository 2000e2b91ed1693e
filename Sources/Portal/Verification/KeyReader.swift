import Foundation
import Postgres
import Synchronization

/// The forms of which this server knows that there are imported keys. A form stays known, because looking for keys that
/// do not exist is never wrong.
final class KnownImportForms: Sendable {
  /// Set as soon as anything was read. Until then, there may be imported keys.
  private static let isRead: UInt16 = 1 << 15

  private let bits = Atomic<UInt16>(0)

  var forms: ImportForms { ImportForms(rawValue: bits.load(ordering: .relaxed) & ~Self.isRead) }

  /// Whether nothing was imported, as far as the latest sync or look-up tells.
  var isWithout: Bool { bits.load(ordering: .relaxed) == Self.isRead }

  func note(_ forms: ImportForms) {
    let new = forms.rawValue | Self.isRead
    if bits.load(ordering: .relaxed) & new != new { bits.bitwiseOr(new, ordering: .relaxed) }
  }
}

/// Reads keys for the cache of a ``Verifier``: by their own hashes and, if keys were imported, by those of other
/// systems.
struct KeyReader: Sendable {
  /// The first read may teach a form, the second find a key that is used for the first time, and the third read it; two
  /// more because another form may be imported, or another text become the key, meanwhile.
  private static let readCountMax = 5

  let pool: PostgresPool
  let salt: ImportSalt?
  let imports = KnownImportForms()
  let shared = SharedParts()

  init(pool: PostgresPool, salt: ImportSalt?) {
    self.pool = pool
    self.salt = salt
  }

  func read(_ hashes: [SecretHash], _ secrets: [SecretHash: Secret]) async throws -> SecretsRead<VerifiableKey> {
    for _ in 0..<Self.readCountMax {
      let forms = imports.forms
      let rows = try await rows(hashes, secrets, forms)
      imports.note(rows.first?.importForms ?? [])
      // Keys of a form that was not asked for may have been missed.
      if imports.forms != forms, !secrets.isEmpty { continue }
      let uses = rows.first?.firstUses ?? []
      if uses.isEmpty {
        let limits = try await shared.endpointLimits(of: rows) { try await pool.query($0) }
        return try SecretsRead(
          rows.map { row in
            (row.position, row.found.map { found in (found.hash, shared.applied(to: found.key, limits)) })
          })
      }
      try await record(uses, secrets)
    }
    throw PortalError.unavailable(reason: "imported keys change faster than they are read")
  }

  private func rows(
    _ hashes: [SecretHash], _ secrets: [SecretHash: Secret], _ forms: ImportForms
  ) async throws -> [FoundKey] {
    if forms.isEmpty { return try await pool.query(FindVerifiableKeys(hashes: hashes)) }
    let asked = secrets.flatMap { hash, secret in
      secret.importedHashes(forms, salt).map { AskedImport(hash: hash, imported: $0) }
    }
    return try await pool.query(FindImportedKeysToo(hashes: hashes, asked: asked))
  }

  /// Another server may do the same at the same time; what is there then is read by the next statement.
  private func record(_ uses: [FirstUse], _ secrets: [SecretHash: Secret]) async throws {
    let uses = uses.compactMap { use in
      secrets[use.hash].map { (use: use, start: KeyFormat.start(ofImported: $0)) }
    }
    do throws(PostgresError) {
      _ = try await pool.query(
        UseImportedKeys(ids: uses.map(\.use.keyID), hashes: uses.map(\.use.hash), starts: uses.map(\.start)))
    } catch {
      guard error.violates("api_keys_key_hash_unique") else { throw error }
    }
  }
}

/// What keys in the cache have in common.
struct SharedParts: Sendable {
  private static let countMax = 4_096

  private let scopeLists = SharedValues<[String]>(countMax: countMax)
  private let grants = SharedValues<KeyGrants>(countMax: countMax)
  private let credits = SharedValues<KeyCredits>(countMax: countMax)
  private let named = SharedValues<NamedLimits>(countMax: countMax)
  private let shelf = EndpointLimitsShelf()

  /// The endpoint limits of the apis that these keys are for, which are read if the instance does not have them yet.
  func endpointLimits(
    of rows: [FoundKey], _ read: (FindEndpointLimits) async throws -> [CompiledEndpointLimits]
  ) async throws -> [UUID: CompiledEndpointLimits] {
    var (found, unread) = shelf.find(for: rows.lazy.compactMap { try? $0.found?.key.get() })
    if unread.isEmpty { return found }
    let limits = try await read(FindEndpointLimits(apiIDs: unread))
    shelf.store(limits)
    for limits in limits { found[limits.apiID] = limits }
    return found
  }

  /// A key that was read, with what it shares with others; an error if the limits of its api cannot be decoded.
  func applied(
    to found: Result<VerifiableKey, PostgresError>, _ limits: [UUID: CompiledEndpointLimits]
  ) -> Result<VerifiableKey, PostgresError> {
    found.flatMap { key in
      guard let grants = key.grants, let apiID = grants.apiID, grants.endpointLimitsDigest != nil else {
        return .success(applied(to: key))
      }
      if case .failure(let error)? = limits[apiID]?.limits { return .failure(error) }
      var key = key
      key.grants = KeyGrants(grants, limits[apiID])
      return .success(applied(to: key))
    }
  }

  private func applied(to key: VerifiableKey) -> VerifiableKey {
    var key = key
    key.scopes = scopeLists.shared(key.scopes)
    key.grants = key.grants.map { $0.isShareable ? grants.shared($0) : $0 }
    key.credits = key.credits.map { $0.isShareable ? credits.shared($0) : $0 }
    key.limits.allNamed = key.limits.allNamed.map { named.shared($0) }
    return key
  }
}
