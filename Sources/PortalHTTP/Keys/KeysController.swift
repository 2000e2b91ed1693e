import Foundation
import Hummingbird
import Portal

/// `/v1/keys`: a customer's own keys; and `/v1/accounts/{id}/keys`: those of an account, for service tokens.
struct KeysController {
  static let bodySizeMax = 64 << 10
  private static let query: [QueryParameter] = .page + ["status", "q", .list("tag")]
  private static let warning = "Store this key securely: it won't be shown again."

  let keys: Keys

  func addRoutes(to routes: MemberRoutes) {
    routes.get("v1/keys", .readKeys, query: Self.query) { try await list($0, of: $1.keyHolder) }
    routes.post("v1/keys", .changeKeys) { try await create($0, for: $1.keyHolder) }
    routes.get("v1/keys/{id}", .readKeys) { try await get($1.pathID, of: $1.keyHolder) }
    routes.patch("v1/keys/{id}", .changeKeys) { try await update($1.pathID, $0, of: $1.keyHolder) }
    routes.delete("v1/keys/{id}", .changeKeys) { try await revoke($1.pathID, of: $1.keyHolder) }
    // Not `DELETE /v1/keys`, which a client hits whose variable for the id is empty.
    routes.post("v1/keys/revoke-all", .changeKeys, use: revokeAll)
    routes.post("v1/keys/{id}/roll", .changeKeys) { try await roll($1.pathID, $0, of: $1.keyHolder) }
  }

  func addRoutes(to routes: TokenRoutes) {
    routes.get("v1/accounts/{id}/keys", .readKeys, query: Self.query) { try await list($0, of: $1.keyHolder) }
    routes.get("v1/accounts/{id}/keys/{keyId}", .readKeys) { try await get($1.keyID, of: $1.keyHolder) }
    routes.post("v1/accounts/{id}/keys", .writeKeys) { try await create($0, for: $1.keyHolder) }
    routes.patch("v1/accounts/{id}/keys/{keyId}", .writeKeys) {
      try await update($1.keyID, $0, of: $1.keyHolder)
    }
    routes.delete("v1/accounts/{id}/keys/{keyId}", .writeKeys) { try await revoke($1.keyID, of: $1.keyHolder) }
    routes.post("v1/accounts/{id}/keys/{keyId}/roll", .writeKeys) { try await roll($1.keyID, $0, of: $1.keyHolder) }
  }

  private func list(_ request: Request, of holder: KeyHolder) async throws -> Response {
    let page = try request.page()
    var filter = try request.keyFilter()
    filter.environment = holder.caller.environment
    let found = try await keys.list(of: holder.accountID, filter, page: page)
    let now = keys.clock.now.expiryDate
    return Response(
      json: .object { json in
        json.array("keys", found.items) { $0.object($1, at: now) }
        json.field("nextCursor", found.next.map { Cursor.text(of: $0) })
      })
  }

  private func get(_ id: UUID, of holder: KeyHolder) async throws -> Response {
    let key = try await keys.find(id, of: holder.accountID, in: holder.caller.environment)
    return Response(
      json: .object { $0.fields(of: key, at: keys.clock.now.expiryDate) },
      headers: [.eTag: EntityTag.text(of: key.revision)])
  }

  private func create(_ request: Request, for holder: KeyHolder) async throws -> Response {
    var fields = try await RequestFields(request, sizeMax: Self.bodySizeMax)
    let once = try request.idempotent(fields, holder)
    let settings = fields.keySettings(at: keys.clock.now.expiryDate)
    // The first time lay in the future what a repeat may find in the past.
    if let once, !fields.finalProblems.isEmpty {
      if let answer = try await keys.firstAnswer(to: once) { return try response(created: answer, for: holder) }
    }
    try fields.finish()
    if let once {
      let answer = try await keys.create(settings, by: holder.caller, once: once, show)
      return try response(created: answer, for: holder)
    }
    let issued = try await keys.create(settings, for: holder.accountID, by: holder.caller)
    return try response(
      created: FirstAnswer(shownKeys: [show(issued.key)], newKeyID: issued.key.id, secret: issued.secret),
      for: holder)
  }

  private func response(created answer: FirstAnswer, for holder: KeyHolder) throws -> Response {
    let shown = try answer.shown(atLeast: 1)
    let json = JSONWriter.object { json in
      json.fields(ofObject: shown[0])
      json.field("key", answer.secret?.reveal())
      json.field("warning", Self.warning)
    }
    return Response(
      status: .created, json: json,
      headers: [
        .location: "\(holder.path)/\(answer.newKeyID.text)", .eTag: EntityTag.text(of: Key.firstRevision),
      ])
  }

  /// A key as it is now.
  private func show(_ key: Key) -> String {
    String(decoding: JSONWriter.object { $0.fields(of: key, at: keys.clock.now.expiryDate) }.bytes, as: UTF8.self)
  }

  private func update(_ id: UUID, _ request: Request, of holder: KeyHolder) async throws -> Response {
    var fields = try await RequestFields(request, sizeMax: Self.bodySizeMax)
    let changes = fields.keyChanges(at: keys.clock.now.expiryDate)
    try fields.finish()
    let revisions = try request.ifMatch()
    let updated = try await keys.update(
      id, of: holder.accountID, changes, ifRevision: revisions, by: holder.caller)
    let json = JSONWriter.object { json in
      json.fields(of: updated.key, at: keys.clock.now.expiryDate)
      json.propagation(updated.propagation)
    }
    return Response(json: json, headers: [.eTag: EntityTag.text(of: updated.key.revision)])
  }

  @Sendable private func revokeAll(_ request: Request, _ context: CustomerContext) async throws -> Response {
    try await RequestFields(request, sizeMax: Self.bodySizeMax, isOptional: true).finish()
    let (count, propagation) = try await keys.revokeAll(of: context.accountID, by: context.caller)
    return Response(revokedKeyCount: count, propagation)
  }

  private func revoke(_ id: UUID, of holder: KeyHolder) async throws -> Response {
    Response(try await keys.revoke(id, of: holder.accountID, by: holder.caller))
  }

  private func roll(_ id: UUID, _ request: Request, of holder: KeyHolder) async throws -> Response {
    var fields = try await RequestFields(request, sizeMax: Self.bodySizeMax, isOptional: true)
    let once = try request.idempotent(fields, holder)
    let grace = fields.integer("graceSeconds", 0...Key.graceSecondsMax, default: 0)
    try fields.finish()
    if let once {
      let (answer, propagation) = try await keys.roll(
        id, graceSeconds: grace, by: holder.caller, once: once, show)
      return try response(rolled: answer, propagation, for: holder)
    }
    let rolled = try await keys.roll(id, of: holder.accountID, graceSeconds: grace, by: holder.caller)
    let answer = FirstAnswer(
      shownKeys: ([rolled.successor.key, rolled.predecessor] + rolled.ended).map(show),
      newKeyID: rolled.successor.key.id, secret: rolled.successor.secret)
    return try response(rolled: answer, rolled.propagation, for: holder)
  }

  private func response(
    rolled answer: FirstAnswer, _ propagation: Propagation, for holder: KeyHolder
  ) throws -> Response {
    let shown = try answer.shown(atLeast: 2)
    let json = JSONWriter.object { json in
      json.object("newKey") { json in
        json.fields(ofObject: shown[0])
        json.field("key", answer.secret?.reveal())
      }
      json.object("oldKey") { $0.fields(ofObject: shown[1]) }
      let ended = shown.dropFirst(2)
      if !ended.isEmpty {
        json.array("endedKeys", ended) { json, key in json.object { $0.fields(ofObject: key) } }
      }
      json.propagation(propagation)
      json.field("warning", Self.warning)
    }
    return Response(status: .created, json: json, headers: [.location: "\(holder.path)/\(answer.newKeyID.text)"])
  }
}

extension Response {
  /// The answer to the revocation of all keys, by whomever.
  init(revokedKeyCount count: Int, _ propagation: Propagation) {
    self.init(
      json: .object { json in
        json.field("revoked", count)
        json.propagation(propagation)
      })
  }

  /// The answer to a revocation, by whomever.
  init(_ revoked: Keys.Revoked) {
    self.init(
      json: .object { json in
        json.field("id", revoked.id)
        json.field("revokedAt", revoked.revokedAt)
        json.propagation(revoked.propagation)
      })
  }
}

extension Request {
  fileprivate func keyFilter() throws(InvalidRequest) -> KeyFilter {
    let tags = try queryValues("tag")
    guard tags.count <= KeyTag.countMax, tags.allSatisfy(KeyTag.isValid) else {
      throw InvalidRequest("query.tag", "must match ^[a-z0-9][a-z0-9:._-]{0,31}$, at most \(KeyTag.countMax) times")
    }
    let text = try query("q")
    if let text, !(1...KeyFilter.textLengthMax).contains(text.unicodeScalars.count) || text.utf8.contains(0) {
      throw InvalidRequest("query.q", "must be 1 to \(KeyFilter.textLengthMax) characters")
    }
    return KeyFilter(status: try queryChoice("status", Key.Status.self), tags: tags, text: text)
  }
}
