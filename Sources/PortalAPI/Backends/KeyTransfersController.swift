import Foundation
import HTTPTypes
import Hummingbird
package import JSON
package import Portal
package import PortalHTTP

/// `/v1/keys/import` and `/v1/keys/export`: keys that come from another system, or go to one, by their hashes.
struct KeyTransfersController {
  /// For a thousand keys with metadata.
  private static let bodySizeMax = 8 << 20

  let imports: KeyImports
  let exports: KeyExports

  func addRoutes(to routes: ServiceTokenRoutes) {
    routes.post("v1/keys/import", .importKeys, use: importKeys)
    routes.get("v1/keys/export", .exportKeys, use: export)
  }

  @Sendable private func importKeys(_ request: Request, _ context: ServiceTokenContext) async throws -> Response {
    var fields = try await RequestFields(request, sizeMax: Self.bodySizeMax)
    let rows = fields.required("keys") { $0.optionalObjects("keys", 1...KeyImport.countMax) { $0.keyImport() } }
    let imported = try await imports.importKeys(try fields.finish(rows) { $0 }, by: context.caller)
    return Response(
      json: .object { json in
        json.field("imported", imported.newCount)
        json.field("existing", imported.rows.count - imported.newCount)
        json.objects("keys", imported.rows) { json, row in
          json.field("id", row.id)
          json.field("accountId", row.accountID)
          json.field("isNew", row.isNew)
        }
        json.propagation(imported.propagation)
      })
  }

  /// Streams the keys as they are read: at most a thousand are in memory at a time.
  @Sendable private func export(_ request: Request, _ context: ServiceTokenContext) async throws -> Response {
    let export = try await exports.export(by: context.caller)
    let headers: HTTPFields = [
      .contentType: "application/x-ndjson", .cacheControl: "no-store",
      .contentDisposition: "attachment; filename=\"keys.jsonl\"",
    ]
    return Response(
      status: .ok, headers: headers,
      body: .streamed { write in
        var json = JSONWriter()
        try await export.read { keys in
          json.clear()
          for key in keys { json.line { $0.fields(of: key) } }
          try await write(json.bytes)
        }
      })
  }
}

extension RequestFields {
  /// A row of an import. Nil after a problem; the problems stay in these fields.
  package mutating func keyImport() -> KeyImport? {
    let takesUsualLimit = !has("rateLimitPerMinute")
    let account = account()
    let algorithm: ImportForm.Algorithm? = choice("algorithm")
    let encoding = choice("encoding", default: ImportedHash.Encoding.hex)
    let part = choice("part", default: ImportForm.Part.whole)
    let isSalted = optionalBool("salted") ?? false
    let text = string("hash", 1...2 * ImportForm.Algorithm.sha512.length)
    var hash: ImportedHash?
    if let algorithm, let text {
      hash = ImportedHash(text, encoding, form: ImportForm(algorithm, part, isSalted: isSalted))
      if hash == nil {
        refuse("hash", "must be the \(algorithm.length) bytes of a \(algorithm.rawValue) in \(encoding.rawValue)")
      }
    }
    let isEnabled = optionalBool("enabled") ?? true
    let start = optionalString("start", 1...Key.startLengthMax)
    if let start, !KeyImport.isValid(start: start) { refuse("start", "must be visible ASCII characters") }
    for name in ["resources", "credits"] where has(name) {
      refuse(name, "cannot be imported: set it afterwards")
    }
    // A key that is over may be imported, so that an import can be repeated later.
    guard let body = try? keySettings(at: .distantPast, byBackend: true), let account, let hash else { return nil }
    return KeyImport(
      account: account, hash: hash, settings: body.settings, api: body.api, takesUsualLimit: takesUsualLimit,
      isEnabled: isEnabled, start: start)
  }
}

extension JSONWriter {
  /// A line of an export.
  package mutating func fields(of exported: ExportedKey) {
    let (key, form) = (exported.key, exported.hash.form)
    field("id", key.id)
    field("accountId", key.accountID)
    field("externalId", exported.externalID)
    field("hash", exported.hash.hex)
    field("algorithm", form.algorithm.rawValue)
    field("encoding", ImportedHash.Encoding.hex.rawValue)
    field("part", form.part.rawValue)
    field("salted", form.isSalted)
    field("start", key.start)
    field("name", key.name)
    field("environment", key.environment.rawValue)
    field("scopes", key.scopes)
    field("rateLimitPerMinute", key.rateLimitPerMinute)
    objects("limits", key.limits) { $0.fields(of: $1) }
    field("rateLimitMode", key.rateLimitMode.rawValue)
    field("allowedIPs", key.allowedIPs?.map(\.description))
    field("expiresAt", key.expiresAt)
    field("revokedAt", key.revokedAt)
    field("enabled", key.disabledAt == nil)
    field("createdAt", key.createdAt)
    field("description", key.description)
    field("tags", key.tags)
    field("metadata", json: key.metadata)
    field("apiId", key.apiID)
    field("prefix", key.prefix)
    field("byteLength", key.byteLength)
    field("resources", json: key.resources.text)
    field("roles", key.roles)
    field("permissions", key.permissions)
  }
}
