import Foundation
import Hummingbird
import Portal

/// `/v1/keys`: a customer's own keys.
struct KeysController {
  static let bodySizeMax = 64 << 10
  private static let warning = "Store this key securely: it won't be shown again."

  let keys: Keys

  func addRoutes(to routes: MemberRoutes) {
    routes.get("v1/keys", .readKeys, use: list)
    routes.post("v1/keys", .changeKeys, use: create)
    routes.get("v1/keys/{id}", .readKeys, use: get)
    routes.patch("v1/keys/{id}", .changeKeys, use: update)
    routes.delete("v1/keys/{id}", .changeKeys, use: revoke)
    // Not `DELETE /v1/keys`, which a client hits whose variable for the id is empty.
    routes.post("v1/keys/revoke-all", .changeKeys, use: revokeAll)
    routes.post("v1/keys/{id}/roll", .changeKeys, use: roll)
  }

  @Sendable private func list(_ request: Request, _ context: CustomerContext) async throws -> Response {
    let page = try request.page()
    let found = try await keys.list(of: context.accountID, try request.keyFilter(), page: page)
    let now = Date()
    return Response(
      json: .object { json in
        json.array("keys", found.items) { $0.object($1, at: now) }
        json.field("nextCursor", found.next.map { Cursor.text(of: $0) })
      })
  }

  @Sendable private func get(_ request: Request, _ context: CustomerContext) async throws -> Response {
    let key = try await keys.find(try context.pathID, of: context.accountID)
    return Response(
      json: .object { $0.fields(of: key, at: Date()) }, headers: [.eTag: EntityTag.text(of: key.revision)])
  }

  @Sendable private func create(_ request: Request, _ context: CustomerContext) async throws -> Response {
    var fields = try await RequestFields(request, sizeMax: Self.bodySizeMax)
    let once = try request.idempotent(fields, context)
    let settings = fields.keySettings(at: Date())
    // The first time lay in the future what a repeat may find in the past.
    if let once, !fields.finalProblems.isEmpty {
      if let answer = try await keys.firstAnswer(to: once) { return response(created: answer) }
    }
    try fields.finish()
    if let once {
      return response(created: try await keys.create(settings, by: context.caller, once: once, Self.show))
    }
    let issued = try await keys.create(settings, for: context.accountID, by: context.caller)
    return response(
      created: FirstAnswer(shownKeys: [Self.show(issued.key)], newKeyID: issued.key.id, secret: issued.secret))
  }

  private func response(created answer: FirstAnswer) -> Response {
    let json = JSONWriter.object { json in
      json.fields(ofObject: answer.shownKeys[0])
      json.field("key", answer.secret?.reveal())
      json.field("warning", Self.warning)
    }
    return Response(
      status: .created, json: json,
      headers: [
        .location: "/v1/keys/" + answer.newKeyID.text, .eTag: EntityTag.text(of: Key.firstRevision),
      ])
  }

  /// A key as it is now.
  private static func show(_ key: Key) -> String {
    String(decoding: JSONWriter.object { $0.fields(of: key, at: Date()) }.bytes, as: UTF8.self)
  }

  @Sendable private func update(_ request: Request, _ context: CustomerContext) async throws -> Response {
    var fields = try await RequestFields(request, sizeMax: Self.bodySizeMax)
    let changes = fields.keyChanges(at: Date())
    try fields.finish()
    let revisions = try request.ifMatch()
    let updated = try await keys.update(
      try context.pathID, of: context.accountID, changes, ifRevision: revisions, by: context.caller)
    let json = JSONWriter.object { json in
      json.fields(of: updated.key, at: Date())
      json.propagation(updated.propagation)
    }
    return Response(json: json, headers: [.eTag: EntityTag.text(of: updated.key.revision)])
  }

  @Sendable private func revokeAll(_ request: Request, _ context: CustomerContext) async throws -> Response {
    try await RequestFields(request, sizeMax: Self.bodySizeMax, isOptional: true).finish()
    let (count, propagation) = try await keys.revokeAll(of: context.accountID, by: context.caller)
    return Response(revokedKeyCount: count, propagation)
  }

  @Sendable private func revoke(_ request: Request, _ context: CustomerContext) async throws -> Response {
    let revoked = try await keys.revoke(try context.pathID, of: context.accountID, by: context.caller)
    return Response(revoked)
  }

  @Sendable private func roll(_ request: Request, _ context: CustomerContext) async throws -> Response {
    var fields = try await RequestFields(request, sizeMax: Self.bodySizeMax, isOptional: true)
    let once = try request.idempotent(fields, context)
    let grace = fields.integer("graceSeconds", 0...Key.graceSecondsMax, default: 0)
    try fields.finish()
    let id = try context.pathID
    if let once {
      let (answer, propagation) = try await keys.roll(
        id, graceSeconds: grace, by: context.caller, once: once, Self.show)
      return response(rolled: answer, propagation)
    }
    let rolled = try await keys.roll(id, of: context.accountID, graceSeconds: grace, by: context.caller)
    let answer = FirstAnswer(
      shownKeys: [rolled.successor.key, rolled.predecessor].map(Self.show), newKeyID: rolled.successor.key.id,
      secret: rolled.successor.secret)
    return response(rolled: answer, rolled.propagation)
  }

  private func response(rolled answer: FirstAnswer, _ propagation: Propagation) -> Response {
    let json = JSONWriter.object { json in
      json.object("newKey") { json in
        json.fields(ofObject: answer.shownKeys[0])
        json.field("key", answer.secret?.reveal())
      }
      json.object("oldKey") { $0.fields(ofObject: answer.shownKeys[1]) }
      json.propagation(propagation)
      json.field("warning", Self.warning)
    }
    return Response(status: .created, json: json, headers: [.location: "/v1/keys/" + answer.newKeyID.text])
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
  fileprivate func keyFilter() throws(PortalError) -> KeyFilter {
    let tags = uri.queryParameters[values: "tag"].map(String.init)
    guard tags.count <= KeyTag.countMax, tags.allSatisfy(KeyTag.isValid) else {
      throw .invalid("query.tag", "must match ^[a-z0-9][a-z0-9:._-]{0,31}$, at most \(KeyTag.countMax) times")
    }
    let text = query("q")
    if let text, !(1...KeyFilter.textLengthMax).contains(text.unicodeScalars.count) || text.utf8.contains(0) {
      throw .invalid("query.q", "must be 1 to \(KeyFilter.textLengthMax) characters")
    }
    return KeyFilter(status: try queryChoice("status", Key.Status.self), tags: tags, text: text)
  }
}
