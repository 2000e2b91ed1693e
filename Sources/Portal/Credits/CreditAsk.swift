/// What an instance asks PostgreSQL about a bucket of credits. All of it is absolute, so that a repeated or late
/// statement does no harm: `spent`, not what was spent since the last time.
struct CreditAsk: Equatable, Sendable {
  /// Grows with each statement of a holder. PostgreSQL does nothing for a number that is not above that of the lease.
  var number: Int
  /// The generation of the block; nil if the instance has none.
  var generation: Int?
  /// What was spent of the block so far.
  var spent: Int
  /// Up to where the instance may have spent when the answer arrives: `spent` if it spends nothing until then.
  var keep: Int
  /// The cost of the request that waits; 0 if none does.
  var need: Int
  /// What the instance would like to have beyond `need`.
  var want: Int
  /// Whether everything above `keep` is given back.
  var isReturn: Bool
}

/// PostgreSQL's answer to a ``CreditAsk``.
struct CreditAnswer: Equatable, Sendable {
  enum Verdict: String, Equatable, Sendable {
    /// The block has what was needed.
    case ok
    /// Others have it; they were asked to give it back. Ask again.
    case pending
    /// No instance has it.
    case refused
    /// The bucket has a newer generation, and the lease of the older one stays open because `keep` was above `spent`.
    /// Ask again, frozen.
    case changed
    /// A later statement was executed first.
    case overtaken
    /// There is no such bucket.
    case gone
    /// The holder's files were adopted: it may lease nothing any more.
    case closed
  }

  /// The lease after the statement.
  struct Lease: Equatable, Sendable {
    var generation: Int
    var granted: Int
    /// What PostgreSQL knows to be spent. An instance that has no block of this generation continues from here.
    var settled: Int
    /// Whether another instance waits for what is not spent.
    var isRecalled: Bool
  }

  var verdict: Verdict
  /// Nil for `gone` and `closed`, and where nothing was done.
  var lease: Lease?
  /// What a request might cost and still be admitted, after others have given back what they have.
  var remaining = 0
  /// The time until the next refill; nil if none comes.
  var refillMilliseconds: Int?
}
