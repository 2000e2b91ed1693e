import Crypto
import Foundation

/// A try to prove who somebody is, and what it counts towards.
///
/// Guessing must become slow, and must not become a way to keep somebody out. Each attempt counts in up to three
/// buckets, and each bucket that has had its free attempts makes the next wait for a second, then two, four and so on:
///
/// - **The user from this block of addresses** (an IPv4 address, an IPv6 /64): a handful are free. Only who shares the
/// block   with the user can make them wait here.
/// - **The block**: against trying one password on many users. It, too, concerns only who shares it.
/// - **The user, from wherever**: against guessing from very many addresses at once. This is the one that a stranger
/// could   use against a user, so it does not count for a block that the user has logged in from in the last 90 days,
/// nor do   attempts from there count in it. Whoever comes from a new place while somebody attacks has to win a turn
/// from the   attacker, of which there is one in five minutes at worst; or resets the password by mail, if they are a
/// customer:   proving the mailbox makes the block known.
///
/// A user that does not exist has the same buckets, because they are made of what was typed: a 429 tells nothing. (Who
/// shares a block with a user, and attacks from elsewhere, too, can find out that the user has logged in from there.)
///
/// An attempt is counted before it is made, in one statement, so many at once are as many as in turn. One that succeeds
/// is taken out again and clears the first bucket only: who has an account of their own cannot use it to go on
/// guessing. One that is broken off counts, or guesses would be free for who hangs up.
///
/// The second factor has one bucket, the user, which is strict and knows no exception: only who has the password gets
/// there, and three of a million codes are right at any time. Who has it can make its owner wait; another password ends
/// that. Asking for the password again within a session has such a bucket, too.
package struct Attempt: Sendable {
  package enum Kind: String, Sendable {
    case logIn, staffLogIn
    /// Asking for a mail to reset the password.
    case passwordReset
    case signUp
    case secondFactor
    /// The password again, by who is logged in.
    case stepUp
  }

  /// How many attempts are free, and how long the delays may grow.
  struct Policy: Sendable {
    var freeCount: Int
    var delaySecondsMax: Int
    /// Without an attempt for so long, counting begins anew.
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

  /// What the attempt counts towards, and clears when it succeeds.
  let own: Bucket
  /// What it counts towards beside.
  let shared: [Bucket]
  /// The one of `shared` that does not count where the user is known.
  let waived: UUID?
  /// The bucket of logins that tells whether they are.
  let knownBy: UUID?

  /// `name` is an e-mail address as it was typed, or the id of somebody who has shown a password. Without an address
  /// the attempt counts for none.
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

  /// Whether a success makes the block known.
  var isLogIn: Bool { knownBy == own.id }

  private static func block(of address: String) -> String {
    AddressBlock(address)?.neighbourhood(ipv6PrefixLength: ipv6PrefixLength).description ?? address
  }

  /// Half of a SHA-256: an id says nothing about what it was made of, short of guessing that.
  private static func digest(_ scope: String, _ kind: Kind, _ parts: String...) -> UUID {
    let text = ([scope, kind.rawValue] + parts).joined(separator: "\u{0}")
    return SHA256.hash(data: Data(text.utf8)).withUnsafeBytes { UUID(uuid: $0.loadUnaligned(as: uuid_t.self)) }
  }
}
