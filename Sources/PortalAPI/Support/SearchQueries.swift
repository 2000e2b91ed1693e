import Portal
import PortalHTTP

extension KeySearch {
  init(_ query: Query) throws(InvalidRequest) {
    let start = try query.text("start", 1...Key.startLengthMax)
    self.init(
      id: try query.uuid("id"), accountID: try query.uuid("accountId"), start: start, email: try query.email("email"),
      emailPart: try query.part("emailPart", EmailAddress.lengthMax),
      accountName: try query.part("accountName", Account.nameLengthMax))
    guard self != KeySearch() else {
      throw InvalidRequest("query", "must have at least one of start, id, accountId, email, emailPart, accountName")
    }
  }
}

extension AccountSearch {
  init(_ query: Query) throws(InvalidRequest) {
    self.init(
      id: try query.uuid("id"), email: try query.email("email"),
      emailPart: try query.part("emailPart", EmailAddress.lengthMax),
      name: try query.part("name", Account.nameLengthMax))
    guard self != AccountSearch() else {
      throw InvalidRequest("query", "must have at least one of id, email, emailPart, name")
    }
  }
}

extension Query {
  /// Part of an account's name or of an e-mail address.
  fileprivate func part(_ name: String, _ lengthMax: Int) throws(InvalidRequest) -> String? {
    try text(name, AccountSearch.partLengthMin...lengthMax)
  }
}
