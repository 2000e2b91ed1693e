package import Foundation
import JSON
package import Postgres

/// Imports keys of other systems by their hashes.
package struct KeyImports: Sendable {
  private static let problemCountMax = 100

  /// What has become of each row.
  package struct Imported: Sendable {
    package struct Row: Sendable, Equatable {
      package var id: UUID
      package var accountID: UUID
      /// False for a key that was there already, which stays as it is.
      package var isNew: Bool
    }

    /// In the order of the request.
    package var rows: [Row]
    package var propagation: Propagation

    package var newCount: Int { rows.count(where: \.isNew) }
  }

  let pool: PostgresPool
  let keys: Keys

  package init(pool: PostgresPool, keys: Keys) {
    self.pool = pool
    self.keys = keys
  }

  /// Imports at most ``KeyImport/countMax`` keys, all or none. A key whose hash was imported before, or which was made
  /// here, stays as it is, so that an import can be repeated. Accounts are made for external ids that have none.
  ///
  /// Throws `.invalid` with the problems of all rows, each at its row: besides what creating the keys would refuse, a
  /// hash that is repeated or that of a key of another account, and a salted hash where no salt is set.
  package func importKeys(_ rows: [KeyImport], by caller: Caller) async throws -> Imported {
    let start = ContinuousClock.now
    let now = try await keys.now().date
    try checkHashes(of: rows)
    let imported = try await pool.withTransaction(as: .staff) { transaction in
      try await importKeys(rows, by: caller, at: now, on: transaction)
    }
    return Imported(rows: imported, propagation: await keys.propagation(since: start))
  }

  private func checkHashes(of rows: [KeyImport]) throws(PortalError) {
    var seen: Set<ImportedHash> = []
    var problems: [FieldProblem] = []
    for (index, row) in rows.enumerated() {
      if row.hash.form.isSalted, keys.format.importSalt == nil {
        problems.append(FieldProblem(.row(index, .salted), "requires KEY_IMPORT_SALT, which is not set"))
      }
      if !seen.insert(row.hash).inserted {
        problems.append(FieldProblem(.row(index, .hash), "must not be repeated"))
      }
    }
    try Self.refuse(problems)
  }

  private static func refuse(_ problems: [FieldProblem]) throws(PortalError) {
    if !problems.isEmpty { throw .invalid(Array(problems.prefix(problemCountMax))) }
  }

  private func importKeys(
    _ rows: [KeyImport], by caller: Caller, at now: Date, on transaction: PostgresConnection
  ) async throws -> [Imported.Row] {
    let accounts = try await accounts(of: rows, by: caller, on: transaction)
    let apis = try await apis(of: rows, on: transaction)
    var existing = try await existing(rows, on: transaction)
    var problems: [FieldProblem] = []
    var new: [(index: Int, id: UUID, row: KeyImport, accountID: UUID)] = []
    var newCounts: [UUID: Int] = [:]
    for (index, row) in rows.enumerated() {
      guard let account = accounts[row.account] else {
        problems.append(row.account.unknown(at: index))
        continue
      }
      if let known = existing[row.hash] {
        if known.accountID != account.id { problems.append(Self.isElsewhere(index)) }
        continue
      }
      var row = row
      if let api = row.api {
        row.settings.apiID = apis[api]
        if row.settings.apiID == nil {
          problems.append(FieldProblem(.row(index, .api), "is not the id or slug of an api"))
        }
      }
      if row.takesUsualLimit {
        row.settings.rateLimitPerMinute = account.kind == .customer ? Key.rateLimitPerMinuteDefault : nil
      }
      if account.isSuspended { problems.append(FieldProblem(.row(index, row.account.field), "is suspended")) }
      problems += account.rules.allProblems(of: row.settings, madeAt: now).map {
        FieldProblem(.row(index, $0.field), $0.message)
      }
      newCounts[account.id, default: 0] += 1
      if account.kind != .house, let cap = account.rules.plan.keyCap,
        account.liveKeyCount + (newCounts[account.id] ?? 0) > cap
      {
        problems.append(
          FieldProblem(.row(index, row.account.field), "has reached its plan's limit of \(cap) live keys"))
      }
      new.append((index, UUID.version7(), row, account.id))
    }
    try Self.refuse(problems)
    var added: Set<UUID> = []
    if !new.isEmpty {
      let keys = new.map { ImportKeys.NewKey(id: $0.id, accountID: $0.accountID, key: $0.row) }
      added = Set(try await transaction.query(ImportKeys(keys: keys, creator: caller.actor)))
      // Others may have been imported at the same time.
      if added.count < new.count { existing = try await self.existing(rows, on: transaction) }
      for (index, id, row, accountID) in new where !added.contains(id) {
        guard let known = existing[row.hash], known.accountID == accountID else {
          problems.append(Self.isElsewhere(index))
          continue
        }
      }
      try Self.refuse(problems)
    }
    if !added.isEmpty {
      let detail = AuditDetail("\(added.count) keys in \(Set(new.map(\.accountID)).count) accounts")
      try await transaction.execute(InsertAuditEvent.inSystem(.keysImported, "key", by: caller, detail: detail))
    }
    let ids = Dictionary(new.map { ($0.index, $0.id) }) { first, _ in first }
    return rows.enumerated().compactMap { index, row in
      if let id = ids[index], added.contains(id) {
        return accounts[row.account].map { Imported.Row(id: id, accountID: $0.id, isNew: true) }
      }
      return existing[row.hash].map { Imported.Row(id: $0.id, accountID: $0.accountID, isNew: false) }
    }
  }

  private static func isElsewhere(_ index: Int) -> FieldProblem {
    FieldProblem(.row(index, .hash), "is that of a key of another account")
  }

  /// The accounts that the rows name, which are locked if they have a cap. Those that do not exist are left out.
  private func accounts(
    of rows: [KeyImport], by caller: Caller, on transaction: PostgresConnection
  ) async throws -> [AccountReference: ImportAccount] {
    let references = Set(rows.map(\.account))
    let ids = references.compactMap(\.id)
    let externalIDs = references.compactMap(\.externalID)
    let found = try await transaction.query(FindImportAccounts(ids: ids, externalIDs: externalIDs))
    _ = try await transaction.query(LockAccounts(ids: found.map(\.id)))
    let known = Set(found.compactMap(\.externalID).map(ByteText.init))
    let missing = externalIDs.filter { !known.contains(ByteText($0)) }
    if !missing.isEmpty { _ = try await transaction.query(MakeExternalAccounts(externalIDs: missing, caller: caller)) }
    // Again, because what was committed during the wait for the locks counts.
    let accounts = try await transaction.query(FindImportAccounts(ids: ids, externalIDs: externalIDs))
    let byID = Dictionary(accounts.map { ($0.id, $0) }) { first, _ in first }
    let byExternalID = Dictionary(
      accounts.compactMap { account in account.externalID.map { (ByteText($0), account) } }
    ) { first, _ in first }
    var result: [AccountReference: ImportAccount] = [:]
    for reference in references {
      switch reference {
      case .id(let id): result[reference] = byID[id]
      case .externalID(let externalID): result[reference] = byExternalID[ByteText(externalID)]
      }
    }
    return result
  }

  private func apis(
    of rows: [KeyImport], on transaction: PostgresConnection
  ) async throws -> [CatalogReference: UUID] {
    let references = Array(Set(rows.compactMap(\.api)))
    let found = try await transaction.pipeline(each: references.map { FindAPI(reference: $0) })
    var result: [CatalogReference: UUID] = [:]
    for (reference, apis) in zip(references, found) { result[reference] = apis.first?.id }
    return result
  }

  private func existing(
    _ rows: [KeyImport], on transaction: PostgresConnection
  ) async throws -> [ImportedHash: FindImportedKeys.Row] {
    let found = try await transaction.query(FindImportedKeys(hashes: rows.map(\.hash)))
    return Dictionary(found.map { ($0.hash, $0) }) { first, _ in first }
  }
}

/// An account that keys are imported into.
struct ImportAccount: Sendable {
  var id: UUID
  var externalID: String?
  var kind: Account.Kind
  var isSuspended: Bool
  var rules: KeyRules
  /// 0 without a cap.
  var liveKeyCount: Int
}

extension AccountReference {
  fileprivate var id: UUID? { if case .id(let id) = self { id } else { nil } }
  fileprivate var externalID: String? { if case .externalID(let id) = self { id } else { nil } }

  fileprivate var field: FieldProblem.Field {
    switch self {
    case .id: .account
    case .externalID: .externalID
    }
  }

  fileprivate func unknown(at index: Int) -> FieldProblem {
    FieldProblem(.row(index, field), "is not that of an account")
  }
}

extension KeyRules {
  /// The violations that ``check(_:of:madeAt:only:)`` would throw.
  fileprivate func allProblems(of settings: KeySettings, madeAt createdAt: Date) -> [FieldProblem] {
    do throws(PortalError) {
      try check(settings, madeAt: createdAt)
      return []
    } catch {
      switch error {
      case .scopeNotAllowed(let problems), .limitNotAllowed(let problems), .policyViolation(let problems):
        return problems
      default: return []
      }
    }
  }
}
