import HTTPTypes
import JSON
import Portal
import PortalHTTP

// The header fields about credits. Like those about limits, they are written in two ways: into the bytes of a head, on
// the fast path, and as fields.

extension Verdict {
  /// The value of `Retry-After` if the credits of a key were refused and a refill comes. Limits that refuse set their
  /// own.
  fileprivate var creditRetrySeconds: Int? {
    guard code == .usageExceeded, found?.limits.binding?.isAdmitted ?? true else { return nil }
    return credits?.retryAfterSeconds
  }
}

extension [UInt8] {
  /// Adds the fields about credits, without the end of the last line. `isAuthorizing` adds what is left, which
  /// elsewhere is in the body.
  mutating func addCredits(of verdict: Verdict, isAuthorizing: Bool) {
    guard let credits = verdict.credits else { return }
    if isAuthorizing { append("\r\nX-Latchkey-Credits-Remaining: ", decimal: credits.remaining) }
    if let seconds = verdict.creditRetrySeconds { append("\r\nRetry-After: ", decimal: seconds) }
  }
}

extension HTTPFields {
  /// As the same function for bytes.
  mutating func addCredits(of verdict: Verdict, isAuthorizing: Bool) {
    guard let credits = verdict.credits else { return }
    if isAuthorizing { self[.xLatchkeyCreditsRemaining] = "\(credits.remaining)" }
    if let seconds = verdict.creditRetrySeconds { self[.retryAfter] = "\(seconds)" }
  }
}

// Safe: they are valid names.
// swift-format-ignore: NeverForceUnwrap
extension HTTPField.Name {
  static let xCreditCost = HTTPField.Name("X-Credit-Cost")!
  fileprivate static let xLatchkeyCreditsRemaining = HTTPField.Name("X-Latchkey-Credits-Remaining")!
}

/// A cost of credits as gateways write it in a header: 0…``VerificationRequest/creditCostMax``, in digits alone.
enum CreditCostField {
  private static let digitCountMax = 7

  static func parse(_ bytes: Span<UInt8>) -> Int? {
    guard (1...digitCountMax).contains(bytes.count) else { return nil }
    var cost = 0
    for index in bytes.indices {
      guard (0x30...0x39).contains(bytes[index]) else { return nil }
      cost = cost * 10 + Int(bytes[index] - 0x30)
    }
    return cost <= VerificationRequest.creditCostMax ? cost : nil
  }
}
