package import Foundation

/// The limits of an account's keys.
package struct Plan: Sendable, Equatable {
  package static let keyCapMax = 10_000
  package static let nameLengthMax = 32
  package static let namePattern = "^[a-z0-9][a-z0-9_-]{0,31}$"
  /// The plan of an account that somebody signs up for, or that the first person joins.
  package static let defaultName = "default"
  /// The plan of an account that a backend creates.
  package static let externalName = "external"

  package var name: String
  /// The maximum number of keys that are neither revoked nor expired; nil for any number.
  package var keyCap: Int?
  /// Each scope of a key must be covered by one of these patterns.
  package var scopes: [String]
  /// Nil for any limit, and for keys without one.
  package var rateLimitPerMinuteMax: Int?
  /// Counted from the creation of the key; nil for no limit.
  package var maxKeyLifetimeDays: Int?
  /// The apis that keys may be for; nil for all.
  package var apiIDs: [UUID]?
  /// The roles that each key has besides its own.
  package var roleIDs: [UUID]

  /// The most apis of a plan, and the most roles.
  package static let apiCountMax = 64
  package static let roleCountMax = 64

  package init(
    name: String, keyCap: Int?, scopes: [String], rateLimitPerMinuteMax: Int?, maxKeyLifetimeDays: Int? = nil,
    apiIDs: [UUID]? = nil, roleIDs: [UUID] = []
  ) {
    self.name = name
    self.keyCap = keyCap
    self.scopes = scopes
    self.rateLimitPerMinuteMax = rateLimitPerMinuteMax
    self.maxKeyLifetimeDays = maxKeyLifetimeDays
    self.apiIDs = apiIDs
    self.roleIDs = roleIDs
  }

  package static func isValid(name: String) -> Bool {
    guard let first = name.utf8.first, name.utf8.count <= nameLengthMax, Scope.isLetterOrDigit(first) else {
      return false
    }
    return name.utf8.allSatisfy { Scope.isLetterOrDigit($0) || "_-".utf8.contains($0) }
  }
}

/// A tenant.
package struct Account: Sendable, Equatable {
  package enum Kind: String, Sendable, CaseIterable {
    /// People log in to it.
    case customer
    /// A backend created it, and nobody has joined yet.
    case external
    /// For the keys of one api that belong to no customer: in no list of customers, without a cap, and never locked.
    case house
  }

  package static let nameLengthMax = 100

  package var id: UUID
  package var name: String
  package var plan: Plan
  package var suspendedAt: Date?
  package var kind: Kind
}

/// A person who can log in.
package struct User: Sendable, Equatable {
  package var id: UUID
  package var email: String
}

extension Account {
  /// Throws `.forbidden` for a house account: it has no people and no settings.
  package func checkIsCustomers() throws(PortalError) {
    guard kind != .house else {
      throw .forbidden(reason: "The account is for an api's keys that belong to no customer.")
    }
  }

  /// Throws `.forbidden` for a suspended account: it keeps what it has, but gets nothing new.
  func checkActive() throws(PortalError) {
    guard suspendedAt == nil else { throw .forbidden(reason: "The account is suspended.") }
  }
}
