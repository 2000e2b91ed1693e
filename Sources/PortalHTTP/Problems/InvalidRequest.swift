import JSON
package import Portal

/// One problem of a request and its location, such as `body.scopes[0]` or `query.days`.
package struct RequestProblem: Sendable, Equatable {
  package var location: String
  package var message: String

  package init(location: String, message: String) {
    self.location = location
    self.message = message
  }
}

/// A request that violates the contract, with all of its problems.
package struct InvalidRequest: Error, Equatable {
  package var problems: [RequestProblem]

  package init(_ problems: [RequestProblem]) { self.problems = problems }

  package init(_ location: String, _ message: String) {
    self.init([RequestProblem(location: location, message: message)])
  }
}

extension RequestProblem {
  /// Gives a refused field its location in a request of this API.
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
  /// The name of the field in this API and on the command line.
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
    }
  }
}

extension JSONWriter {
  package mutating func fields(of problem: RequestProblem) {
    field("location", problem.location)
    field("message", problem.message)
  }

  /// Writes a problem of the enclosing object: the location is the name of the field alone.
  package mutating func fields(of problem: FieldProblem) {
    field("location", problem.field.name)
    field("message", problem.message)
  }
}
