import Hummingbird

/// What a request asks in its JSON body. There is a value only where nothing was wrong.
package protocol JSONBody: Sendable {
  static var sizeMax: Int { get }
  /// Whether an empty body counts as `{}`.
  static var isOptional: Bool { get }

  /// Throws all that is wrong.
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

/// Of a request that needs none.
package struct EmptyBody: JSONBody {
  package static let isOptional = true

  package init(_ fields: inout RequestFields) throws { try fields.finish() }
}
