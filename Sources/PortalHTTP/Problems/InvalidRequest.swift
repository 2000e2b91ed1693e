import JSON
package import Portal

/// One thing that is wrong with a request, and where: `body.scopes[0]`, `query.days`.
package struct RequestProblem: Sendable, Equatable {
  package var location: String
  package var message: String
}

/// A request that breaks the contract: all that is wrong with it.
package struct InvalidRequest: Error, Equatable {
  package var problems: [RequestProblem]

  package init(_ problems: [RequestProblem]) { self.problems = problems }

  package init(_ location: String, _ message: String) { self.init([RequestProblem(location: location, message: message)]) }
}

extension RequestProblem {
  /// Where this API has a field that a verb refuses.
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
  /// What the field is called in this API and on the command line.
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

  /// A field of the object itself, which needs no place.
  package mutating func fields(of problem: FieldProblem) {
    field("location", problem.field.name)
    field("message", problem.message)
  }
}
