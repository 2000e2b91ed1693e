/// Reckoning with what rows and clocks say: what lies beyond a bound becomes the bound, where overflow would end the
/// process.
extension Int {
  /// What a whole number is bounded to that was a fraction: sums and small multiples of it do not overflow.
  private static let boundOfFractions = 0x1p53

  /// The whole part of a number; 0 for what is none.
  package init(bounding number: Double) {
    self = number.isNaN ? 0 : Int(Swift.min(Swift.max(number, -Self.boundOfFractions), Self.boundOfFractions))
  }

  /// The sum, or the number that is nearest to it.
  package func addingBounded(_ other: Int) -> Int {
    let (sum, isBeyond) = addingReportingOverflow(other)
    return isBeyond ? (other < 0 ? .min : .max) : sum
  }

  /// The difference, or the number that is nearest to it.
  package func subtractingBounded(_ other: Int) -> Int {
    let (difference, isBeyond) = subtractingReportingOverflow(other)
    return isBeyond ? (other < 0 ? .max : .min) : difference
  }
}
