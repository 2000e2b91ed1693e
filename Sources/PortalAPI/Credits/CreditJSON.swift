package import JSON
package import Portal

extension JSONWriter {
  /// `credits` of a key or an account.
  package mutating func credits(_ balance: CreditBalance?) {
    guard let balance else {
      field("credits", json: nil)
      return
    }
    object("credits") { json in
      json.field("remaining", balance.remaining)
      json.field("held", balance.held)
      if let refill = balance.refill {
        json.object("refill") { json in
          json.field("interval", refill.intervalName)
          json.field("amount", refill.amount)
          json.field("day", refill.day)
        }
      } else {
        json.field("refill", json: nil)
      }
      json.field("refillAt", balance.refillAt)
    }
  }
}
