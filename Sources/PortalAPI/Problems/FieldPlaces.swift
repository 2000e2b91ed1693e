import JSON
package import Portal
package import PortalHTTP

extension RequestProblem {
  /// Gives a refused field its location in a request of `/v1`.
  package init(_ problem: FieldProblem) {
    let place =
      switch problem.owner {
      case .request: "body"
      case .key: "key"
      }
    self.init(location: place + "." + problem.field.name, message: problem.message)
  }
}

extension FieldProblem.Field {
  /// The name of the field in `/v1` and on the command line.
  package var name: String {
    switch self {
    case .scopes: "scopes"
    case .scope(let index): "scopes[\(index)]"
    case .rateLimitPerMinute: "rateLimitPerMinute"
    case .expiresAt: "expiresAt"
    case .allowedIPs: "allowedIPs"
    case .environment: "environment"
    case .email: "email"
    case .password: "password"
    case .plan: "plan"
    case .api: "apiId"
    case .apiIDs: "apiIds"
    case .apiID(let index): "apiIds[\(index)]"
    case .permission(let index): "permissions[\(index)]"
    case .adding: "add"
    case .added(let index): "add[\(index)]"
    case .removed(let index): "remove[\(index)]"
    case .role: "role"
    case .account: "accountId"
    case .externalID: "externalId"
    case .row(let index, let field): "keys[\(index)].\(field.name)"
    case .hash: "hash"
    case .salted: "salted"
    case .key: "key"
    case .at: "at"
    case .resources: "resources"
    case .resource(let name, let index): "resources.\(name)[\(index)]"
    case .roleID(let index): "roleIds[\(index)]"
    case .creditValue: "value"
    }
  }
}

extension JSONWriter {
  /// Writes a problem of the enclosing object: the location is the name of the field alone.
  mutating func fields(of problem: FieldProblem) {
    field("location", problem.field.name)
    field("message", problem.message)
  }
}
