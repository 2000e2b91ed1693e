/// A limit that a request names.
package struct LimitAsk: Sendable, Equatable {
  package static let costMax = 1_000

  package let name: String
  /// What is taken from the limits of this name; nil: as much as from the others. It may be 0.
  package let cost: Int?
  /// The numbers of a limit that the request brings along, counted for the key in windows of its own. The key's limits
  /// of the same name apply as well. Nil: the key or its account has a limit of this name.
  package let own: WindowLimit?

  package init(name: String, cost: Int? = nil, own: WindowLimit? = nil) {
    self.name = name
    self.cost = cost
    self.own = own
  }
}

/// A request names limits that neither the key nor its account has. Nothing was taken or counted.
package struct UnknownLimits: Error, Equatable {
  /// The indexes of these limits in the request.
  package let places: [Int]
}
