import Crypto
import Foundation

/// An attempt to prove an identity, and the buckets that it counts in.
///
/// Guessing must become slow without letting a stranger lock a user out. Each attempt counts in up to three buckets.
/// When a bucket has used up its free attempts, the next one waits for a second, then two, four and so on:
///
/// - **The user from this block of addresses** (an IPv4 address, an IPv6 /64): a handful are free. Only clients in the
///   same block can make the user wait here.
/// - **The block**: slows down trying one password on many users. It, too, affects only clients in the block.
/// - **The user, from any address**: slows down guessing from very many addresses at once. A stranger could use this
///   bucket against a user, so it ignores blocks from which the user has logged in within the last 90 days. A user who
///   logs in from a new block during an attack has to win a turn from the attacker, at worst one in five minutes.
///   Customers can instead reset the password by mail: proving the mailbox makes the block known.
///
/// A user that does not exist has the same buckets, because they are derived from what was typed, so a 429 reveals
/// nothing. (An attacker who shares a block with a user, and also attacks from elsewhere, can find out that the user
/// has logged in from that block.)
///
/// An attempt is counted before it is made, in one statement, so concurrent attempts count like consecutive ones. A
/// successful attempt is no longer counted and clears only the first bucket: an attacker cannot use an account of their
/// own to continue guessing. An interrupted attempt counts; otherwise clients that disconnect would guess for free.
///
/// The second factor has one bucket, the user. It is strict and has no exception: it is reached only with the password,
/// and three of a million codes are valid at any time. An attacker who knows the password can make its owner wait; a
/// new password ends that. Asking for the password again within a session has such a bucket as well.
package struct Attempt: Sendable {
  package enum Kind: String, Sendable {
    case logIn, staffLogIn
    /// Requesting a mail to reset the password.
    case passwordReset
    case signUp
    case secondFactor
    /// Entering the password again within a session.
    case stepUp
  }

  /// How many attempts are free, and how long the delays may grow.
  struct Policy: Sendable {
    var freeCount: Int
    var delaySecondsMax: Int
    /// Counting starts again after this time without an attempt.
    var forgetSeconds = 3_600
  }

  struct Bucket: Sendable {
    var id: UUID
    var policy: Policy
  }

  /// How long a block counts as the user's after a login.
  static let knownSeconds = 90 * 86_400
  private static let ipv6PrefixLength = 64

  private static let pairPolicy = Policy(freeCount: 5, delaySecondsMax: 900)
  private static let blockPolicy = Policy(freeCount: 50, delaySecondsMax: 900)
  private static let userPolicy = Policy(freeCount: 20, delaySecondsMax: 300)
  private static let secondFactorPolicy = Policy(freeCount: 5, delaySecondsMax: 3_600, forgetSeconds: 86_400)
  private static let stepUpPolicy = Policy(freeCount: 5, delaySecondsMax: 900)

  /// The bucket that the attempt counts in, and clears when it succeeds.
  let own: Bucket
  /// The other buckets that it counts in.
  let shared: [Bucket]
  /// The bucket among `shared` that is ignored if the block is known.
  let waived: UUID?
  /// The bucket that records whether the user has logged in from this block.
  let knownBy: UUID?

  /// `name` is an e-mail address as typed, or the id of a person who has already proved their password. Without an
  /// `address` the attempt counts in no block.
  package init(_ kind: Kind, of name: String, from address: String?) {
    switch kind {
    case .logIn, .staffLogIn, .passwordReset, .signUp:
      let block = address.map { Self.block(of: $0) }
      own = Bucket(id: Self.digest("pair", kind, name, block ?? ""), policy: Self.pairPolicy)
      let user = Bucket(id: Self.digest("user", kind, name), policy: Self.userPolicy)
      waived = user.id
      knownBy = Self.digest("pair", kind == .staffLogIn ? .staffLogIn : .logIn, name, block ?? "")
      shared = [user] + (block.map { [Bucket(id: Self.digest("block", kind, $0), policy: Self.blockPolicy)] } ?? [])
    case .secondFactor, .stepUp:
      own = Bucket(
        id: Self.digest("user", kind, name),
        policy: kind == .secondFactor ? Self.secondFactorPolicy : Self.stepUpPolicy)
      (shared, waived, knownBy) = ([], nil, nil)
    }
  }

  /// True if success makes the block known.
  var isLogIn: Bool { knownBy == own.id }

  private static func block(of address: String) -> String {
    AddressBlock(address)?.neighbourhood(ipv6PrefixLength: ipv6PrefixLength).description ?? address
  }

  /// Half of a SHA-256. An id does not reveal its input; it only allows a guess to be checked.
  private static func digest(_ scope: String, _ kind: Kind, _ parts: String...) -> UUID {
    let text = ([scope, kind.rawValue] + parts).joined(separator: "\u{0}")
    return SHA256.hash(data: Data(text.utf8)).withUnsafeBytes { UUID(uuid: $0.loadUnaligned(as: uuid_t.self)) }
  }
}
