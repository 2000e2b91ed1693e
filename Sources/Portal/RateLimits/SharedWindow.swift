/// What an instance may admit before it has told the others and heard of them.
///
/// With n instances and a limit L an instance admits at most B = max(1, L / 20(n-1)) units (or one request that costs
/// more) between two exchanges. Whoever decides last has seen all that every other had published when it looked; what
/// another admitted since, or while the two looks crossed, is at most 2B. So at most L + 2(n-1)B is admitted in a
/// window: 10 % over where L ≥ 20(n-1), else 2(n-1) units. An instance that is alone admits L and no more.
///
/// Without PostgreSQL nobody hears of anybody. Then each may admit its share of what was left when it last heard, so
/// that the shares of all are no more than what was left.
struct RateLimitAllowance: Sendable, Equatable {
  private static let overshootDivisor = 20

  /// Those that are live, this one too.
  var instanceCount = 1
  /// Whether the last exchange came to its end.
  var isConnected = true

  /// `known` is what is known to be used of the limit, by all.
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
    /// It would fit by what is known, but too much is not published yet.
    case unsure
  }

  /// In a fixed window, and in the one before.
  struct Pair: Sendable, Equatable {
    var current = 0
    var previous = 0

    /// Of rows, which hold whatever somebody put there.
    fileprivate var bounded: Pair {
      Pair(current: SlidingWindow.bounded(count: current), previous: SlidingWindow.bounded(count: previous))
    }

    fileprivate mutating func take(_ step: SlidingWindow.Step) {
      switch step {
      case .stay: break
      case .next: (current, previous) = (0, current)
      case .skip: (current, previous) = (0, 0)
      case .back: (current, previous) = (SlidingWindow.bounded(count: current + previous), 0)
      }
    }
  }

  /// What one instance tells the others, and asks of them.
  struct Publication: Sendable, Equatable {
    var seconds: Int
    var index: Int
    var own: Pair
  }

  /// A decision of the database arrives this much later than another at most.
  private static let lateSecondsMax = 5

  private let seconds: Int
  private var index = 0
  private var own = Pair()
  private var published = Pair()
  private var others = Pair()
  /// Whether it waits to be published.
  var isQueued = false

  init(seconds: Int) { self.seconds = SlidingWindow.lengthMilliseconds(seconds) / 1_000 }

  /// By all, as far as is known.
  var window: SlidingWindow {
    SlidingWindow(
      lengthMilliseconds: seconds * 1_000, index: index, current: own.current + others.current,
      previous: own.previous + others.previous)
  }

  var publication: Publication { Publication(seconds: seconds, index: index, own: own) }

  private var unpublished: Int { own.current - published.current + own.previous - published.previous }

  /// Whether nothing of it counts any more; then nobody needs to hear of it either.
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

  /// Takes `cost` in the window of the last ``fit(cost:limit:_:at:)``, whose index it returns.
  @discardableResult
  mutating func take(_ cost: Int) -> Int {
    own.current += cost
    return index
  }

  /// Gives back what was taken in the window `index`. What was published stays published: it only grows.
  mutating func release(_ cost: Int, takenAt index: Int) {
    if index == self.index {
      own.current = max(published.current, own.current - cost)
    } else if index == self.index - 1 {
      own.previous = max(published.previous, own.previous - cost)
    }
  }

  /// Takes the others' counts, which the database had beside `publication`.
  mutating func exchanged(_ publication: Publication, others told: Pair) {
    let told = told.bounded
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
  }

  /// Takes over how the window stands in the database, which decided.
  mutating func decided(index: Int, current: Int, previous: Int) {
    // What comes late is not taken over. A window that is far ahead is from before the clock was set back.
    let index = SlidingWindow.bounded(index: index, seconds: seconds)
    guard index >= self.index || (self.index - index) * seconds > Self.lateSecondsMax else { return }
    self.index = index
    own = Pair()
    others = Pair(current: current, previous: previous).bounded
  }

  private mutating func advance(to now: Int) {
    let step = SlidingWindow.Step(from: index, to: now, lengthMilliseconds: seconds * 1_000)
    if case .stay = step { return }
    own.take(step)
    others.take(step)
    published.take(step)
    // The others have heard of it under the index it had, all but what was not published yet.
    if case .back = step { published = own }
    index = now / (seconds * 1_000)
  }
}
