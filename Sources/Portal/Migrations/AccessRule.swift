/// A right, a policy or an owner that the migrations give: the statement that gives it, and changes nothing where it is
/// there already. Dumps lose them where a role is missing.
package struct AccessRule: Hashable, Sendable {
  package enum Kind: Sendable, CaseIterable {
    case owner, rowSecurity, policy, revocation, grant
  }

  /// Stand for the owner of the tables and for their schema, which differ from database to database.
  private static let ownerMark = ":owner"
  private static let schemaMark = ":schema"

  /// As `ListAccess` writes it.
  package let statement: String

  package init(statement: String) { self.statement = statement }

  package var kind: Kind {
    if statement.hasPrefix("create policy ") { return .policy }
    if statement.hasPrefix("revoke ") { return .revocation }
    if statement.hasPrefix("alter ") { return statement.hasSuffix(Self.ownerMark) ? .owner : .rowSecurity }
    return .grant
  }

  /// What tells it from others. Of a policy it is not the expressions: versions of PostgreSQL write the same one in
  /// different words.
  var identity: Substring {
    guard kind == .policy else { return statement[...] }
    let ends = [" using (", " with check ("].compactMap { statement.firstRange(of: $0)?.lowerBound }
    return statement[..<(ends.min() ?? statement.endIndex)]
  }

  /// What gives it in a database with this schema and this owner, both quoted.
  func script(schema: String, owner: String) -> String {
    guard kind == .policy else {
      return statement.replacing(Self.ownerMark, with: owner).replacing(Self.schemaMark, with: schema) + ";"
    }
    // One of this name may be there for other roles: those that are left when one of several was dropped.
    let name = statement.dropFirst("create policy ".count)
    let end = name.firstRange(of: " as ")?.lowerBound ?? name.endIndex
    return "drop policy if exists \(name[..<end]);\n\(statement);"
  }
}

/// All that the migrations give.
package struct AccessRules: Sendable {
  let rules: [AccessRule]

  /// From a statement a line, in the order in which they can be run.
  package init(text: String) {
    rules = text.split(separator: "\n").map { AccessRule(statement: String($0)) }
  }

  /// Those that are not among what a database has, in their order.
  func missing(among present: [AccessRule]) -> [AccessRule] {
    let identities = Set(present.map(\.identity))
    return rules.filter { !identities.contains($0.identity) }
  }
}

extension Collection where Element == AccessRule {
  /// How many there are of each kind: "73 policies, 1 grant".
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
