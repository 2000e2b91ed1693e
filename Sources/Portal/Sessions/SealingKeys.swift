import Foundation
import Postgres

/// Rotates the key that second factors are sealed with: secrets under a previous key are sealed again under the current
/// one, so that the previous key is no longer needed.
struct SealingKeys: Sendable {
  /// Secrets that one transaction reads, and seals again if necessary.
  static let batchCountMax = 500

  /// Thrown if no key opens some of the secrets.
  struct Unreadable: Error, Equatable, CustomStringConvertible {
    var secretCount: Int
    var description: String {
      "neither SECRET_KEY nor SECRET_KEY_PREVIOUS opens \(secretCount) second factors; keep both, and add their key"
    }
  }

  let box: SecretBox

  /// Seals secrets again, in batches, each in one step of `run`. Returns their number. A secret that its owner changes
  /// at the same time is left alone. Throws ``Unreadable`` at the end if no key opens some of them.
  func sealAnew(_ run: JobRun) async throws -> Int {
    var (sealedCount, unreadableCount, place) = (0, 0, UUID?.none)
    while true {
      let after = place
      let batch = try await run.step(as: .identity) { connection in
        let found = try await connection.query(ListSealedSecretsAfter(after: after, count: Self.batchCountMax))
        var (changes, unreadableCount) = ([SealAnew](), 0)
        for (personID, sealed) in found {
          guard let opened = box.open(sealed, for: personID) else {
            unreadableCount += 1
            continue
          }
          if opened.age == .previous {
            changes.append(SealAnew(personID: personID, from: sealed, to: try box.seal(opened.bytes, for: personID)))
          }
        }
        let changed = try await connection.pipeline(each: changes)
        return Batch(
          last: found.last?.personID, sealedCount: changed.count { !$0.isEmpty }, unreadableCount: unreadableCount)
      }
      sealedCount += batch.sealedCount
      unreadableCount += batch.unreadableCount
      guard let last = batch.last else { break }
      place = last
    }
    run.observer.observe(.secretsSealedAnew(secrets: sealedCount))
    if unreadableCount > 0 { throw Unreadable(secretCount: unreadableCount) }
    run.observer.observe(.previousKeyUnused)
    return sealedCount
  }

  private struct Batch: Sendable {
    /// The last person in the batch; nil if the batch is empty.
    var last: UUID?
    var sealedCount: Int
    var unreadableCount: Int
  }
}
