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

/// Gives a field that the domain refused its location in the requests of an API.
package typealias FieldPlacing = @Sendable (FieldProblem) -> RequestProblem

extension JSONWriter {
  package mutating func fields(of problem: RequestProblem) {
    field("location", problem.location)
    field("message", problem.message)
  }
}
