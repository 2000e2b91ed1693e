import Foundation
package import Postgres

/// A key as an export has it: its settings, whose it is, and the hash that it is found by. Nothing that leads back to
/// the key.
package struct ExportedKey: Sendable, Equatable {
  package var key: Key
  package var externalID: String?
  package var hash: ImportedHash
}

/// Exports the keys of all accounts, so that another system can go on with them.
package struct KeyExports: Sendable {
  let pool: PostgresPool
  private let gate = ExportGate()

  package init(pool: PostgresPool) { self.pool = pool }

  /// An export that is allowed to run.
  package struct Export: Sendable {
    fileprivate let pool: PostgresPool
    fileprivate let permit: ExportGate.Permit

    /// Passes all keys to `sink` in the order of their ids, at most a thousand at a time, as they are at one moment.
    /// Throws `.unavailable` if the database fails once keys may have been passed on.
    package func read(_ sink: ([ExportedKey]) async throws -> Void) async throws {
      try await pool.withTransaction(as: .staff) { connection in
        _ = try await connection.pipeline(
          ForceCustomPlanWithoutJIT(), LimitExportPause(), DeclareExport(query: ListExportedKeys()))
        do {
          while true {
            let found = try await connection.query(FetchExport<ListExportedKeys>())
            if found.isEmpty { return }
            try await sink(found)
          }
        } catch let error as PostgresError {
          // Wrapped, so that the transaction is not retried: some keys have been passed on already.
          throw PortalError.unavailable(reason: "an export was interrupted: \(error)")
        }
      }
    }
  }

  /// Records the export in the system's trail, and prepares for reading. Throws `.tooManyRequests` if too many exports
  /// are running.
  package func export(by caller: Caller) async throws -> Export {
    let permit = try gate.enter()
    _ = try await pool.execute(InsertAuditEvent.inSystem(.keysExported, "key", by: caller), as: .staff)
    return Export(pool: pool, permit: permit)
  }
}
