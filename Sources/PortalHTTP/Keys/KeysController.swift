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
    routes.delete("v1/keys/{id}", .changeKeys, use: revoke)
    routes.post("v1/keys/{id}/roll", .changeKeys, use: roll)
  }

  @Sendable private func list(_ request: Request, _ context: CustomerContext) async throws -> Response {
    let page = try request.page()
    let status = try request.queryChoice("status", Key.Status.self)
    let found = try await keys.list(of: context.accountID, status: status, page: page)
    let now = Date()
    return Response(
      json: .object { json in
        json.array("keys", found.items) { $0.object($1, at: now) }
        json.field("nextCursor", found.next.map { Cursor.text(of: $0) })
      })
  }

  @Sendable private func get(_ request: Request, _ context: CustomerContext) async throws -> Response {
    let key = try await keys.find(try context.pathID, of: context.accountID)
    return Response(json: .object { $0.fields(of: key, at: Date()) })
  }

  @Sendable private func create(_ request: Request, _ context: CustomerContext) async throws -> Response {
    var fields = try await RequestFields(request, sizeMax: Self.bodySizeMax)
    let settings = fields.keySettings(at: Date())
    try fields.finish()
    let issued = try await keys.create(settings, for: context.accountID, by: context.caller)
    let json = JSONWriter.object { json in
      json.fields(of: issued.key, at: Date())
      json.field("key", issued.secret.reveal())
      json.field("warning", Self.warning)
    }
    return Response(status: .created, json: json, headers: [.location: "/v1/keys/" + issued.key.id.text])
  }

  @Sendable private func revoke(_ request: Request, _ context: CustomerContext) async throws -> Response {
    let revoked = try await keys.revoke(try context.pathID, of: context.accountID, by: context.caller)
    return Response(revoked)
  }

  @Sendable private func roll(_ request: Request, _ context: CustomerContext) async throws -> Response {
    var fields = try await RequestFields(request, sizeMax: Self.bodySizeMax, isOptional: true)
    let grace = fields.integer("graceSeconds", 0...Key.graceSecondsMax, default: 0)
    try fields.finish()
    let rolled = try await keys.roll(
      try context.pathID, of: context.accountID, graceSeconds: grace, by: context.caller)
    let now = Date()
    let json = JSONWriter.object { json in
      json.object("newKey") { json in
        json.fields(of: rolled.successor.key, at: now)
        json.field("key", rolled.successor.secret.reveal())
      }
      json.object("oldKey") { $0.fields(of: rolled.predecessor, at: now) }
      json.propagation(rolled.propagation)
      json.field("warning", Self.warning)
    }
    return Response(status: .created, json: json, headers: [.location: "/v1/keys/" + rolled.successor.key.id.text])
  }
}

extension Response {
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

extension RequestFields {
  fileprivate mutating func keySettings(at now: Date) -> KeySettings {
    let name = string("name", 1...Key.nameLengthMax)
    let scopes = optionalList(
      "scopes", 1...Scope.countMax, "must match ^[a-z0-9][a-z0-9:._*-]{0,63}$"
    ) { Scope.isValid($0) ? $0 : nil }
    if scopes == nil, !problems.contains(where: { $0.location.hasPrefix("body.scopes") }) {
      refuse("scopes", "is required")
    }
    let allowedIPs = optionalList(
      "allowedIPs", 1...AddressBlock.countMax, "must be an IPv4 or IPv6 address or CIDR block"
    ) { AddressBlock($0) }
    let expiresAt = optionalDate("expiresAt")
    if let expiresAt, expiresAt <= now { refuse("expiresAt", "must lie in the future") }
    return KeySettings(
      name: name, environment: choice("environment", default: Key.Environment.live), scopes: scopes ?? [],
      rateLimitPerMinute: integer(
        "rateLimitPerMinute", 1...Key.rateLimitPerMinuteMax, default: Key.rateLimitPerMinuteDefault),
      limits: namedLimits(), rateLimitMode: choice("rateLimitMode", default: RateLimitMode.fast),
      allowedIPs: allowedIPs, expiresAt: expiresAt)
  }

  private mutating func namedLimits() -> [RateLimit] {
    var names: Set<String> = []
    return optionalObjects("limits", 0...RateLimit.countMax) { fields in
      let name = fields.string("name", 1...64)
      if !RateLimit.isValid(name: name) {
        fields.refuse("name", "must match ^[a-z][a-z0-9_-]{0,31}$ and be neither default nor account")
      } else if !names.insert(name).inserted {
        fields.refuse("name", "stands twice")
      }
      return RateLimit(
        name: name, limit: fields.integer("limit", 1...RateLimit.limitMax),
        windowSeconds: fields.integer("windowSeconds", 1...RateLimit.windowSecondsMax))
    } ?? []
  }
}
