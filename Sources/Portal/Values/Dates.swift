package import Foundation
import JSON

extension Date {
  package func adding(days: Int) -> Date { addingTimeInterval(Double(days) * 86_400) }

  /// Milliseconds since 1970.
  package var milliseconds: Int { Int(bounding: timeIntervalSince1970 * 1_000) }

  init(milliseconds: Int) { self.init(timeIntervalSince1970: Double(milliseconds) / 1_000) }
}
