/// How much an instance may admit before the next exchange with the others.
///
/// With n instances and a limit L, an instance admits at most B = max(1, L / 20(n-1)) units (or one request that costs
/// more) between two exchanges. The instance that decides last has read everything that the others had published by
/// then; what another has admitted since, or while the two exchanges crossed, is at most 2B. So at most L + 2(n-1)B is
/// admitted in a window: 10 % over the limit if L ≥ 20(n-1), otherwise 2(n-1) units. A single instance admits no more
/// than L.
///
/// Without PostgreSQL there are no exchanges. Each instance may then admit its share of what was left at its last
/// exchange, so that all shares together are no more than what was left.
struct RateLimitAllowance: Sendable, Equatable {
  private static let overshootDivisor = 20

  /// The number of live instances, including this one.
  var instanceCount = 1
  /// Whether the last exchange succeeded.
  var isConnected = true

  /// `known` is the use of the limit by all instances, as far as is known.
  func units(limit: Int, known: Int) -> Int {
    if instanceCount <= 1 { return .max }
    let units = max(1, limit / (Self.overshootDivisor * (instanceCount - 1)))
    return isConnected ? units : max(units, (limit - known) / instanceCount)
  }
}

/// A sliding window in which several instances count: what this one has admitted, how much of that it has published,
/// and what the others have published.
struct SharedWindow: Sendable, Equatable {
  enum Fit: Equatable {
    case fits
    case refused
    /// It fits as far as is known, but too much has not been published yet.
    case unsure
  }

  /// Counts in the current fixed window and in the previous one. They are bounded, because some come from rows, which
  /// may hold anything.
  struct Pair: Sendable, Equatable {
    // In 32 bits each: there may be a million windows.
    private var currentCount: UInt32 = 0
    private var previousCount: UInt32 = 0

    var current: Int {
      get { Int(currentCount) }
      set { currentCount = Self.bounded(newValue) }
    }

    var previous: Int {
      get { Int(previousCount) }
      set { previousCount = Self.bounded(newValue) }
    }

    init(current: Int = 0, previous: Int = 0) {
      currentCount = Self.bounded(current)
      previousCount = Self.bounded(previous)
    }

    private static func bounded(_ count: Int) -> UInt32 { UInt32(clamping: SlidingWindow.bounded(count: count)) }

    fileprivate mutating func take(_ step: SlidingWindow.Step) {
      switch step {
      case .stay: break
      case .next: (current, previous) = (0, current)
      case .skip: (current, previous) = (0, 0)
      case .back: (current, previous) = (current + previous, 0)
      }
    }
  }

  /// The counts that an instance publishes in an exchange.
  struct Publication: Sendable, Equatable {
    /// The length of the window.
    var milliseconds: Int
    var index: Int
    var own: Pair
  }

  /// A number from 0 to 2^40 - 1 in five bytes.
  private struct SmallNumber: Equatable {
    private var low: UInt32 = 0
    private var high: UInt8 = 0

    init(_ number: Int) {
      low = UInt32(truncatingIfNeeded: number)
      high = UInt8(truncatingIfNeeded: number >> 32)
    }

    var number: Int { Int(high) << 32 | Int(low) }
  }

  /// The longest time by which a decision of the database may arrive after a later one.
  static let lateMillisecondsMax = 5_000

  /// The length of windows that an instance does not publish while it is alone.
  static let shortMillisecondsMax = 60_000

  private var own = Pair()
  private var published = Pair()
  private var others = Pair()
  // Both are below 2^40: there is no shorter window than a second, and no longer one than ten years.
  private var storedIndex = SmallNumber(0)
  private let length: SmallNumber
  /// Whether the window is queued to be published.
  var isQueued = false

  init(milliseconds: Int) { length = SmallNumber(SlidingWindow.bounded(length: milliseconds)) }

  /// The length of the window.
  var milliseconds: Int { length.number }

  private var index: Int {
    get { storedIndex.number }
    set { storedIndex = SmallNumber(newValue) }
  }

  /// The use by all instances, as far as is known.
  var window: SlidingWindow {
    SlidingWindow(
      lengthMilliseconds: milliseconds, index: index, current: own.current + others.current,
      previous: own.previous + others.previous)
  }

  var publication: Publication { Publication(milliseconds: milliseconds, index: index, own: own) }

  private var unpublished: Int { own.current - published.current + own.previous - published.previous }

  /// Whether nothing in the window counts any more; it need not be published then either.
  func isOver(at now: Int) -> Bool { window.isOver(at: now) }

  /// Whether `cost` may be taken. `now` is in milliseconds since 1970.
  mutating func fit(cost: Int, limit: Int, _ allowance: RateLimitAllowance, at now: Int) -> Fit {
    advance(to: now)
    let window = window
    guard window.fits(cost: cost, limit: limit, at: now) else { return .refused }
    let unpublished = unpublished
    guard unpublished > 0 else { return .fits }
    let known = window.used(at: now) - unpublished
    return cost <= allowance.units(limit: limit, known: known) - unpublished ? .fits : .unsure
  }

  /// As ``fit(cost:limit:_:at:)`` where a token bucket decides whether the cost fits. `known` is what is missing in it.
  /// The window only counts, for the other instances.
  mutating func fit(
    cost: Int, _ bucket: TokenBucket.Settings, isRefused: Bool, missing known: Int, _ allowance: RateLimitAllowance,
    at now: Int
  ) -> Fit {
    advance(to: now)
    if isRefused { return .refused }
    let unpublished = unpublished
    guard unpublished > 0 else { return .fits }
    let units = allowance.units(limit: bucket.size, known: max(0, known - unpublished))
    return cost <= units - unpublished ? .fits : .unsure
  }

  /// Takes `cost` from the window of the last ``fit(cost:limit:_:at:)``; returns the index of that window.
  @discardableResult
  mutating func take(_ cost: Int) -> Int {
    own.current += cost
    return index
  }

  /// Gives back what was taken in the window `index`, except what has been published, because published counts only
  /// grow. Returns how much that is.
  @discardableResult
  mutating func release(_ cost: Int, takenAt index: Int) -> Int {
    let before = own
    if index == self.index {
      own.current = max(published.current, own.current - cost)
    } else if index == self.index - 1 {
      own.previous = max(published.previous, own.previous - cost)
    }
    return before.current - own.current + before.previous - own.previous
  }

  /// Stores the other instances' counts, which were read when `publication` was published. Returns by how much they
  /// grew, and whether nothing was known of them before.
  @discardableResult
  mutating func exchanged(_ publication: Publication, others told: Pair) -> (growth: Int, isFirst: Bool) {
    let before = others
    let isFirst = published == Pair() && others == Pair()
    switch index - publication.index {
    case 0:
      published = publication.own
      others = Pair(
        current: max(others.current, told.current), previous: max(others.previous, told.previous))
    case 1:
      published.previous = publication.own.current
      others.previous = max(others.previous, told.current)
    default: break
    }
    return (others.current - before.current + others.previous - before.previous, isFirst)
  }

  /// Stores the state of the window in the database, which decided.
  mutating func decided(index: Int, current: Int, previous: Int) {
    // Ignore a late decision, unless the window here is far ahead, which means that it dates from before the clock was
    // set back.
    let index = SlidingWindow.bounded(index: index, length: milliseconds)
    guard index >= self.index || (self.index - index) * milliseconds > Self.lateMillisecondsMax else { return }
    self.index = index
    own = Pair()
    others = Pair(current: current, previous: previous)
  }

  private mutating func advance(to now: Int) {
    let step = SlidingWindow.Step(from: index, to: now, lengthMilliseconds: milliseconds)
    if case .stay = step { return }
    own.take(step)
    others.take(step)
    published.take(step)
    // The others have these counts under the old index, except those that were not published yet. All of them are
    // treated as published now.
    if case .back = step { published = own }
    index = now / milliseconds
  }
}
