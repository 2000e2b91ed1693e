/// A right, a policy or an owner that the migrations set, as the statement that sets it; the statement changes nothing
/// if it is set already. Dumps lose them where a role is missing.
package struct AccessRule: Hashable, Sendable {
  package enum Kind: Sendable, CaseIterable {
    case owner, rowSecurity, policy, revocation, grant
  }

  /// Placeholders for the owner of the tables and for their schema, which differ between databases.
  private static let ownerMark = ":owner"
  private static let schemaMark = ":schema"

  /// The statement, in the form of `ListAccess`.
  package let statement: String

  package init(statement: String) { self.statement = statement }

  package var kind: Kind {
    if statement.hasPrefix("create policy ") { return .policy }
    if statement.hasPrefix("revoke ") { return .revocation }
    if statement.hasPrefix("alter ") { return statement.hasSuffix(Self.ownerMark) ? .owner : .rowSecurity }
    return .grant
  }

  /// The part that distinguishes it from others. For a policy that excludes the expressions: versions of PostgreSQL
  /// write the same one differently.
  var identity: Substring {
    guard kind == .policy else { return statement[...] }
    let ends = [" using (", " with check ("].compactMap { statement.firstRange(of: $0)?.lowerBound }
    return statement[..<(ends.min() ?? statement.endIndex)]
  }

  /// The SQL that sets it in a database with this schema and this owner, both quoted.
  func script(schema: String, owner: String) -> String {
    guard kind == .policy else {
      return statement.replacing(Self.ownerMark, with: owner).replacing(Self.schemaMark, with: schema) + ";"
    }
    // A policy of this name may exist for other roles: those that are left when one of several was dropped.
    let name = statement.dropFirst("create policy ".count)
    let end = name.firstRange(of: " as ")?.lowerBound ?? name.endIndex
    return "drop policy if exists \(name[..<end]);\n\(statement);"
  }
}

/// All access rules that the migrations set.
package struct AccessRules: Sendable {
  let rules: [AccessRule]

  /// Takes one statement per line, in the order in which they can be run.
  package init(text: String) {
    rules = text.split(separator: "\n").map { AccessRule(statement: String($0)) }
  }

  /// The rules that are not among those of a database, in their order.
  func missing(among present: [AccessRule]) -> [AccessRule] {
    let identities = Set(present.map(\.identity))
    return rules.filter { !identities.contains($0.identity) }
  }
}

extension Collection where Element == AccessRule {
  /// The number of each kind: "73 policies, 1 grant".
  package var summary: String {
    AccessRule.Kind.allCases.compactMap { kind in
      let count = count { $0.kind == kind }
      return count == 0 ? nil : "\(count) \(count == 1 ? kind.nouns.one : kind.nouns.many)"
    }.joined(separator: ", ")
  }
}

extension AccessRule.Kind {
  fileprivate var nouns: (one: String, many: String) {
    switch self {
    case .owner: ("owner", "owners")
    case .rowSecurity: ("table's row-level security", "tables' row-level security")
    case .policy: ("policy", "policies")
    case .revocation: ("revocation", "revocations")
    case .grant: ("grant", "grants")
    }
  }
}
