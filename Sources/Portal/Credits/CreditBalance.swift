package import Foundation

/// A key or an account, which may have credits.
package enum CreditOwner: Sendable, Hashable {
  case key(UUID)
  case account(UUID)
}

/// What is left of the credits of a key or an account.
package struct CreditBalance: Sendable, Equatable {
  /// The most credits that a bucket can have: a number that JSON and its readers have exactly.
  package static let amountMax = 1_000_000_000_000_000

  /// The bucket, which a rolled key and its successor share.
  var id: UUID
  package var remaining: Int
  package var refill: CreditRefill?
  /// When the next refill is due; nil if there is none.
  package var refillAt: Date?
  /// The part of `remaining` that instances have set aside that do not answer. They may have spent it. 0 where nobody
  /// was asked.
  package var held = 0
}

/// What a balance is raised to, and when. A balance that is higher stays.
package struct CreditRefill: Sendable, Equatable {
  package static let dayOfMonthRange = 1...31

  package var calendar: RefillCalendar
  /// At least 1.
  package var amount: Int

  package init(_ calendar: RefillCalendar, amount: Int) {
    self.calendar = calendar
    self.amount = amount
  }

  /// The interval, as the API and the database name it.
  package var intervalName: String {
    switch calendar {
    case .daily: "daily"
    case .monthly: "monthly"
    }
  }

  /// The day of the month; nil for a daily refill.
  package var day: Int? {
    switch calendar {
    case .daily: nil
    case .monthly(let day): day
    }
  }
}

/// The credits of a key or an account that had none.
package struct CreditSettings: Sendable, Equatable {
  package var remaining: Int
  package var refill: CreditRefill?

  package init(remaining: Int, refill: CreditRefill? = nil) {
    self.remaining = remaining
    self.refill = refill
  }

  /// The change of something unlimited that gives it these credits.
  var change: CreditChange { .settings(remaining: remaining, refill: refill.map { .set($0) } ?? .keep) }
}

/// Changes to the credits of a key or an account.
package enum CreditChange: Sendable, Equatable {
  /// Any number of requests, and no refills.
  case unlimited
  /// Nil and `.keep` leave the balance and the refills as they are.
  case settings(remaining: Int?, refill: OptionalChange<CreditRefill>)
  case increment(Int)
  /// Down to 0 at most.
  case decrement(Int)

  package static func set(_ remaining: Int) -> CreditChange { .settings(remaining: remaining, refill: .keep) }

  /// For the audit trail.
  var summary: String {
    switch self {
    case .unlimited: "unlimited"
    case .increment(let amount): "increment by \(amount)"
    case .decrement(let amount): "decrement by \(amount)"
    case .settings(let remaining, let refill):
      [remaining.map { "set to \($0)" }, refill.summary].compactMap(\.self).joined(separator: ", ")
    }
  }
}

extension OptionalChange<CreditRefill> {
  fileprivate var summary: String? {
    switch self {
    case .keep: nil
    case .remove: "no refills"
    case .set(let refill): refill.summary
    }
  }
}

extension CreditRefill {
  fileprivate var summary: String {
    switch calendar {
    case .daily: "refill to \(amount) daily"
    case .monthly(let day): "refill to \(amount) on day \(day) of the month"
    }
  }
}
