/// The rights that migrations need and those of the login that runs them. Names are quoted for pasting into SQL.
package struct MigrationNeeds: Sendable, Equatable {
  /// The state of the extension `pg_trgm`.
  package enum Trigrams: String, Sendable {
    case installed
    /// The login may install it.
    case installable
    /// Installing it requires `create` on the database, which the login does not have.
    case databaseNeeded = "database_needed"
    /// Only a superuser may install it.
    case superuserNeeded = "superuser_needed"
    /// The server does not have its files.
    case absent
  }

  /// Quoted.
  package var login: String
  /// Quoted.
  package var database: String
  /// The schema in which tables are created, quoted; nil if no schema of the search path exists.
  package var schema: String?
  /// The owner of the tables, quoted; nil if there are none yet.
  package var owner: String?
  /// Roles of the portal that do not exist.
  package var missingRoles: [String]
  /// Roles that exist, but that the login may not switch to.
  package var unavailableRoles: [String]
  package var mayMakeRoles: Bool
  /// Whether it may grant itself all of `unavailableRoles`.
  package var mayJoinRoles: Bool
  package var mayCreateInSchema: Bool
  package var trigrams: Trigrams
  /// Whether it has the rights of `owner`; true if there is none.
  package var isOwner: Bool

  package init(
    login: String, database: String, schema: String?, owner: String?, missingRoles: [String],
    unavailableRoles: [String],
    mayMakeRoles: Bool, mayJoinRoles: Bool, mayCreateInSchema: Bool, trigrams: Trigrams, isOwner: Bool
  ) {
    self.login = login
    self.database = database
    self.schema = schema
    self.owner = owner
    self.missingRoles = missingRoles
    self.unavailableRoles = unavailableRoles
    self.mayMakeRoles = mayMakeRoles
    self.mayJoinRoles = mayJoinRoles
    self.mayCreateInSchema = mayCreateInSchema
    self.trigrams = trigrams
    self.isOwner = isOwner
  }

  /// The reason not to start; nil if the login has what is needed: for the roles alone, or for migrations as well.
  package func refusal(migrates: Bool) -> MigrationRefusal? {
    var refusal = MigrationRefusal(database: database, login: login)
    let lacksRoles = !missingRoles.isEmpty && !mayMakeRoles
    let lacksMemberships = migrates && !unavailableRoles.isEmpty && !mayJoinRoles
    if lacksRoles {
      refusal.reasons.append("it may not create the roles \(missingRoles.joined(separator: ", "))")
      refusal.statements.append(missingRoles.map { "create role \($0);" }.joined(separator: " "))
    }
    if lacksMemberships {
      refusal.reasons.append("it may not switch to the roles \(unavailableRoles.joined(separator: ", "))")
    }
    if lacksRoles || lacksMemberships {
      let names = (lacksRoles ? missingRoles : []) + (lacksMemberships ? unavailableRoles : [])
      refusal.statements.append("grant \(names.joined(separator: ", ")) to \(login) with admin option;")
    }
    if migrates { refusal.add(objectReasons) }
    return refusal.reasons.isEmpty ? nil : refusal
  }

  /// The reason why the login can neither change tables nor set rights and policies; nil if it can.
  package var ownerRefusal: MigrationRefusal? {
    var refusal = MigrationRefusal(database: database, login: login)
    refusal.add([ownerReason].compactMap(\.self))
    return refusal.reasons.isEmpty ? nil : refusal
  }

  private var objectReasons: [Reason] {
    var reasons: [Reason] = []
    if let schema {
      if !mayCreateInSchema {
        reasons.append(
          Reason("it may not create in the schema \(schema)", "grant usage, create on schema \(schema) to \(login);"))
      }
    } else {
      reasons.append(Reason("no schema of its search_path exists", "create schema authorization \(login);"))
    }
    switch trigrams {
    case .installed, .installable: break
    case .databaseNeeded:
      reasons.append(
        Reason(
          "it may not install the extension pg_trgm, which requires create on the database",
          "grant create on database \(database) to \(login);"))
    case .superuserNeeded:
      reasons.append(Reason("only a superuser may install the extension pg_trgm", "create extension pg_trgm;"))
    case .absent:
      reasons.append(
        Reason("the server has no extension pg_trgm; install it there (in some packages as postgresql-contrib)"))
    }
    return reasons + [ownerReason].compactMap(\.self)
  }

  private var ownerReason: Reason? {
    guard !isOwner, let owner else { return nil }
    return Reason("the tables belong to \(owner); migrate as that login or as a superuser")
  }
}

/// Something that a login may not do, and the SQL that allows it, if there is any.
private struct Reason {
  var text: String
  var statement: String?

  init(_ text: String, _ statement: String? = nil) {
    self.text = text
    self.statement = statement
  }
}

/// The login lacks rights that are needed. Nothing was changed.
package struct MigrationRefusal: Error, Equatable, CustomStringConvertible {
  package let database: String
  package let login: String
  package internal(set) var reasons: [String] = []
  /// The SQL that grants what is missing, to be run in `database` by a superuser.
  package internal(set) var statements: [String] = []

  init(database: String, login: String) {
    self.database = database
    self.login = login
  }

  fileprivate mutating func add(_ more: [Reason]) {
    reasons += more.map(\.text)
    statements += more.compactMap(\.statement)
  }

  package var description: String {
    let lines =
      ["the login \(login) lacks rights in the database \(database), and nothing was changed:"]
      + reasons.map { "  - " + $0 }
    guard !statements.isEmpty else { return lines.joined(separator: "\n") }
    return (lines + ["As a superuser, in the database \(database):"] + statements.map { "  " + $0 })
      .joined(separator: "\n")
  }
}
