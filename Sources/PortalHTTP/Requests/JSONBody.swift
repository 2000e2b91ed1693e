import Hummingbird

/// The JSON body of a request, parsed. A value exists only if nothing was wrong with it.
protocol JSONBody: Sendable {
  static var sizeMax: Int { get }
  /// Whether an empty body counts as `{}`.
  static var isOptional: Bool { get }

  /// Throws all problems together.
  init(_ fields: inout RequestFields) throws
}

extension JSONBody {
  static var sizeMax: Int { RequestFields.sizeMax }
  static var isOptional: Bool { false }

  init(_ request: Request, sizeMax: Int = Self.sizeMax) async throws {
    var fields = try await RequestFields(request, sizeMax: sizeMax, isOptional: Self.isOptional)
    try self.init(&fields)
  }
}

/// The body of a request that needs none.
struct EmptyBody: JSONBody {
  static let isOptional = true

  init(_ fields: inout RequestFields) throws { try fields.finish() }
}
