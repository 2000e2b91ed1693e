package import Foundation

/// A list of keys that staff want revoked, one text per key: its id, or a text that contains the key itself.
package enum KeyList {
  /// The most texts of a list.
  package static let countMax = 1_000

  /// What became of one text of a list.
  package struct Line: Sendable, Equatable {
    package enum Outcome: String, Sendable, CaseIterable {
      case revoked
      /// Another member of staff has to confirm the list.
      case waiting
      case alreadyRevoked = "already_revoked"
      /// The same key as in an earlier line.
      case duplicate
      /// Nobody has such a key.
      case unknown
      /// The text can be no key of this portal, such as one that is cut off.
      case notAKey = "not_a_key"
    }

    package var outcome: Outcome
    /// The key, if there is one.
    package var keyID: UUID?
    package var accountID: UUID?
    package var revokedAt: Date?
  }

  /// What a text refers to. A text in the form of an id may also be a key that was imported.
  struct Reference: Sendable {
    var id: UUID?
    var hash: SecretHash?
    /// The hashes by which an imported key that was not used yet is found.
    var imports: [ImportedHash]
    /// Whether it has the form of an id or of a key of this portal, and is not just some text.
    var isOfThisPortal: Bool

    /// Nil if the text can be neither.
    init?(_ text: String, _ format: KeyFormat) {
      let trimmed = text.trimmingCharacters(in: .whitespacesAndNewlines)
      id = trimmed.utf8.count == 36 ? UUID(uuidString: trimmed) : nil
      let own = format.key(pasted: text)
      // An imported key may look like one of this portal, but without its checksum.
      let secret = own ?? format.anyKey(pasted: text)
      if id == nil, secret == nil { return nil }
      isOfThisPortal = id != nil || own != nil
      hash = secret?.hash
      imports = secret?.importedHashes(format.importSalt) ?? []
    }
  }

  /// A key that was found for a list.
  struct Found: Sendable, Equatable {
    var id: UUID
    var accountID: UUID
    /// Nil while only the hash that it was imported by is known.
    var hash: SecretHash?
    var imported: ImportedHash?
    var revokedAt: Date?
  }

  /// The lines of a list before anything is revoked; what is to be revoked is `.waiting`.
  static func lines(_ references: [Reference?], among found: [Found]) -> [Line] {
    let byID = Dictionary(found.map { ($0.id, $0) }) { one, _ in one }
    let byHash = Dictionary(found.compactMap { key in key.hash.map { ($0, key) } }) { one, _ in one }
    let byImport = Dictionary(found.compactMap { key in key.imported.map { ($0, key) } }) { one, _ in one }
    var seen: Set<UUID> = []
    return references.map { reference in
      guard let reference else { return Line(outcome: .notAKey) }
      guard
        let key = reference.id.flatMap({ byID[$0] }) ?? reference.hash.flatMap({ byHash[$0] })
          ?? reference.imports.lazy.compactMap({ byImport[$0] }).first
      else { return Line(outcome: reference.isOfThisPortal ? .unknown : .notAKey) }
      let outcome: Line.Outcome =
        !seen.insert(key.id).inserted ? .duplicate : key.revokedAt == nil ? .waiting : .alreadyRevoked
      return Line(outcome: outcome, keyID: key.id, accountID: key.accountID, revokedAt: key.revokedAt)
    }
  }
}
