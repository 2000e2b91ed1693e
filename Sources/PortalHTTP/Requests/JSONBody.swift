import Hummingbird

/// The JSON body of a request, parsed. A value exists only if nothing was wrong with it.
package protocol JSONBody: Sendable {
  static var sizeMax: Int { get }
  /// Whether an empty body counts as `{}`.
  static var isOptional: Bool { get }

  /// Throws all problems together.
  init(_ fields: inout RequestFields) throws
}

extension JSONBody {
  package static var sizeMax: Int { RequestFields.sizeMax }
  package static var isOptional: Bool { false }

  package init(_ request: Request, sizeMax: Int = Self.sizeMax) async throws {
    var fields = try await RequestFields(request, sizeMax: sizeMax, isOptional: Self.isOptional)
    try self.init(&fields)
  }
}

/// The body of a request that needs none.
package struct EmptyBody: JSONBody {
  package static let isOptional = true

  package init(_ fields: inout RequestFields) throws { try fields.finish() }
}
