import Foundation
import Glibc

/// A file of a spool that cannot be created or read, and the reason.
struct SpoolFailure: Error, CustomStringConvertible {
  enum Kind: Sendable {
    /// The file itself is bad; trying again does not help.
    case damage
    /// The file was written by another version of this program.
    case otherVersion
    /// The system has run out of a resource.
    case shortage
  }

  private static let shortages: Set<Int32> = [EMFILE, ENFILE, ENOMEM, EAGAIN]

  let description: String
  let kind: Kind

  init(_ description: String, _ kind: Kind = .damage) {
    self.description = description
    self.kind = kind
  }

  /// The failure of `action` with the system's reason, from `errno`.
  static func last(_ action: String) -> SpoolFailure {
    let number = errno
    return SpoolFailure(
      "\(action): \(String(cString: strerror(number)))", shortages.contains(number) ? .shortage : .damage)
  }
}
