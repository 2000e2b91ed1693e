import Crypto

/// What another system has hashed of its keys, and how.
package struct ImportForm: Sendable, Hashable {
  package enum Algorithm: String, Sendable, CaseIterable {
    case sha256, sha512

    /// In bytes.
    package var length: Int { self == .sha256 ? 32 : 64 }
  }

  /// The whole key, or the part after the last `_` of `prefix_short_long`.
  package enum Part: String, Sendable, CaseIterable {
    case whole, long
  }

  package var algorithm: Algorithm
  package var part: Part
  /// Whether the deployment's ``ImportSalt`` was hashed as well.
  package var isSalted: Bool

  package init(_ algorithm: Algorithm, _ part: Part = .whole, isSalted: Bool = false) {
    self.algorithm = algorithm
    self.part = part
    self.isSalted = isSalted
  }

  package static let all = Algorithm.allCases.flatMap { algorithm in
    Part.allCases.flatMap { part in [false, true].map { ImportForm(algorithm, part, isSalted: $0) } }
  }

  /// How keys are hashed here.
  package static let native = ImportForm(.sha256)

  /// The name in the database, such as `sha256-long-salted`.
  package var name: String { algorithm.rawValue + (part == .long ? "-long" : "") + (isSalted ? "-salted" : "") }

  package init?(name: String) {
    guard let form = Self.all.first(where: { $0.name.utf8.elementsEqual(name.utf8) }) else { return nil }
    self = form
  }

  /// The hash of a key in this form; nil if the key has no such part, or there is no salt.
  package func hash(of secret: Secret, _ salt: ImportSalt?) -> [UInt8]? {
    var bytes = Array(secret.reveal().utf8)
    if part == .long {
      guard let long = Self.longPart(of: bytes) else { return nil }
      bytes = long
    }
    if isSalted {
      guard let salt else { return nil }
      bytes = salt.place == .before ? salt.bytes + bytes : bytes + salt.bytes
    }
    return switch algorithm {
    case .sha256: Array(SHA256.hash(data: bytes))
    case .sha512: Array(SHA512.hash(data: bytes))
    }
  }

  private static func longPart(of key: [UInt8]) -> [UInt8]? {
    let parts = key.split(separator: UInt8(ascii: "_"), omittingEmptySubsequences: false)
    guard parts.count >= 3, let long = parts.last, !long.isEmpty else { return nil }
    return Array(long)
  }
}

/// What another system hashed together with each of its keys, the same for all of them.
package struct ImportSalt: Sendable, CustomStringConvertible, CustomReflectable {
  package enum Place: String, Sendable, CaseIterable {
    case before, after
  }

  /// In bytes.
  package static let lengthMax = 512

  fileprivate let bytes: [UInt8]
  package let place: Place

  /// Nil unless the text has 1 to ``lengthMax`` bytes.
  package init?(_ text: String, _ place: Place) {
    guard (1...Self.lengthMax).contains(text.utf8.count) else { return nil }
    bytes = Array(text.utf8)
    self.place = place
  }

  package var description: String { "<salt>" }
  package var customMirror: Mirror { Mirror(self, children: []) }
}

/// The forms of which a deployment has imported keys.
package struct ImportForms: OptionSet, Sendable, Hashable {
  package let rawValue: UInt16
  package init(rawValue: UInt16) { self.rawValue = rawValue }

  package init(_ form: ImportForm) {
    self.init(rawValue: ImportForm.all.firstIndex(of: form).map { 1 << UInt16($0) } ?? 0)
  }

  /// Names that only a later version knows are left out: there is no way to look for such keys.
  package init(names: [String]) {
    self = names.compactMap { ImportForm(name: $0) }.reduce(into: []) { $0.formUnion(ImportForms($1)) }
  }

  package static let all = ImportForm.all.reduce(into: ImportForms()) { $0.formUnion(ImportForms($1)) }

  func contains(where isWanted: (ImportForm) -> Bool) -> Bool {
    ImportForm.all.contains { contains(ImportForms($0)) && isWanted($0) }
  }
}

/// A hash by which an imported key is looked up.
package struct ImportedHash: Sendable, Hashable {
  package var form: ImportForm
  package var bytes: [UInt8]

  package init(form: ImportForm, bytes: [UInt8]) {
    self.form = form
    self.bytes = bytes
  }
}

extension Secret {
  /// The hashes by which a key that has not been used yet is found, in those of `forms` that the key and the salt
  /// allow. Without that of ``ImportForm/native``, which every key is found by.
  package func importedHashes(_ forms: ImportForms, _ salt: ImportSalt?) -> [ImportedHash] {
    if forms.isEmpty { return [] }
    return ImportForm.all.compactMap { form in
      guard form != .native, forms.contains(ImportForms(form)) else { return nil }
      return form.hash(of: self, salt).map { ImportedHash(form: form, bytes: $0) }
    }
  }

  /// The hashes by which an imported key is found that has not been used yet, whatever it was imported by.
  func importedHashes(_ salt: ImportSalt?) -> [ImportedHash] {
    importedHashes(.all, salt) + [ImportedHash(form: .native, bytes: hash.bytes)]
  }
}
