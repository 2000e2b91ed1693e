/// Arithmetic on values from rows and clocks: a result beyond a bound becomes the bound, because overflow would end the
/// process.
extension Int {
  /// The bound of integers made from fractions: sums and small multiples of it do not overflow.
  private static let boundOfFractions = 0x1p53

  /// The whole part of a number, bounded; 0 for NaN.
  package init(bounding number: Double) {
    self = number.isNaN ? 0 : Int(Swift.min(Swift.max(number, -Self.boundOfFractions), Self.boundOfFractions))
  }

  /// The sum, or the nearest `Int`.
  package func addingBounded(_ other: Int) -> Int {
    let (sum, isBeyond) = addingReportingOverflow(other)
    return isBeyond ? (other < 0 ? .min : .max) : sum
  }

  /// The difference, or the nearest `Int`.
  package func subtractingBounded(_ other: Int) -> Int {
    let (difference, isBeyond) = subtractingReportingOverflow(other)
    return isBeyond ? (other < 0 ? .max : .min) : difference
  }
}
