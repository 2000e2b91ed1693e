import Foundation
import Postgres

/// All keys of accounts that are not deleted, in the order of their ids. A key that was imported and not used yet has
/// the hash that was imported.
struct ListExportedKeys: PostgresStatement {
  typealias Row = ExportedKey
  static let isRead = true
  static let sql = allKeys(
    columns: """
      account.external_id, case when key.key_hash is null then key.import_form else 'sha256' end,
      coalesce(key.key_hash, key.import_hash)
      """)
  static func decode(_ row: inout PostgresRow) throws(PostgresError) -> ExportedKey {
    let key = try Key(row: &row)
    let (externalID, name) = (try row.next(String?.self), try row.next(String.self))
    guard let form = ImportForm(name: name) else { throw PostgresError(.decoding, "an unknown form of a hash") }
    return ExportedKey(
      key: key, externalID: externalID,
      hash: ImportedHash(form: form, bytes: try row.next(PostgresBytes.self).bytes))
  }
}
