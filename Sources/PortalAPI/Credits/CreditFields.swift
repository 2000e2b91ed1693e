import JSON
import Portal
import PortalHTTP

/// The credits in bodies of backends and staff.
extension RequestFields {
  private static let amounts = 0...CreditBalance.amountMax

  /// `credits` of a new key or account: an object with `remaining` and perhaps `refill`. Nil: unlimited.
  mutating func newCredits() -> CreditSettings? {
    optionalObject("credits") { fields in
      RequestFields.make(fields.integer("remaining", Self.amounts), fields.creditRefill()) { remaining, refill in
        var settings = CreditSettings(remaining: remaining)
        if case .set(let refill) = refill { settings.refill = refill }
        return settings
      }
    }
  }

  /// `credits` of a key or account that exists: null makes it unlimited, and what the object does not name stays.
  mutating func creditsChange() -> CreditChange? {
    guard has("credits") else { return nil }
    if takeNull("credits") { return .unlimited }
    return optionalObject("credits") { fields in
      let remaining = fields.change("remaining") { $0.optionalInteger("remaining", Self.amounts) }
      return fields.creditRefill().map { CreditChange.settings(remaining: remaining, refill: $0) }
    }
  }

  /// The whole of the credits: `remaining`, null if unlimited, and `refill`, none if it is left out.
  mutating func wholeCredits() -> CreditChange? {
    let remaining = integerOrNull("remaining", Self.amounts)
    guard let refill = creditRefill(), let remaining else { return nil }
    switch (remaining, refill) {
    case (let remaining?, .set(let refill)): return .settings(remaining: remaining, refill: .set(refill))
    case (let remaining?, _): return .settings(remaining: remaining, refill: .remove)
    case (nil, .set):
      refuse("refill", "must be null if remaining is null")
      return nil
    case (nil, _): return .unlimited
    }
  }

  /// `operation` and `value`. Setting null makes it unlimited.
  mutating func creditOperation() -> CreditChange? {
    enum Operation: String, CaseIterable { case set, increment, decrement }
    let operation: Operation? = choice("operation")
    switch operation {
    case .set: return integerOrNull("value", Self.amounts).map { $0.map { .set($0) } ?? .unlimited }
    case .increment: return integer("value", 1...CreditBalance.amountMax).map { .increment($0) }
    case .decrement: return integer("value", 1...CreditBalance.amountMax).map { .decrement($0) }
    case nil:
      _ = value("value")
      return nil
    }
  }

  /// Nil after a problem.
  private mutating func creditRefill() -> OptionalChange<CreditRefill>? {
    guard has("refill") else { return .keep }
    if takeNull("refill") { return .remove }
    return optionalObject("refill") { fields in
      enum Interval: String, CaseIterable { case daily, monthly }
      let interval: Interval? = fields.choice("interval")
      let amount = fields.integer("amount", 1...CreditBalance.amountMax)
      if interval != .monthly, fields.value("day") != nil { fields.refuse("day", "is only for monthly refills") }
      let day = fields.integer("day", CreditRefill.dayOfMonthRange, default: 1)
      return RequestFields.make(interval, amount) {
        CreditRefill($0 == .monthly ? .monthly(day: day) : .daily, amount: $1)
      }
    }.map { .set($0) }
  }
}
