import Foundation

/// The windows of a shard.
struct RateLimitWindows: Sendable {
  /// The number of windows at which expired ones are first swept, and the lowest threshold for later sweeps.
  private static let sweepThresholdMin = 4_096

  private var byID: [RateLimitWindowID: SharedWindow] = [:]
  private var queue: [RateLimitWindowID] = []
  private var sweepAt = RateLimitWindows.sweepThresholdMin

  mutating func sweepIfLarge(at now: Int) {
    guard byID.count >= sweepAt else { return }
    byID = byID.filter { !$0.value.isOver(at: now) }
    queue.removeAll { byID[$0] == nil }
    sweepAt = max(Self.sweepThresholdMin, 2 * byID.count)
  }

  /// Decides a request to which only this limit applies. Also returns the index of the window that the cost was taken
  /// from; nil if the fit is unsure.
  mutating func admit(
    _ applied: AppliedLimit, cost: Int, _ allowance: RateLimitAllowance, at now: Int
  ) -> (standing: RateLimitDecision.Standing, index: Int)? {
    let limit = applied.limit
    let id = applied.window
    var isNew = false
    let decided = withWindow(id, limit) { window -> (SlidingWindow.Decision, Int)? in
      let fit = window.fit(cost: cost, limit: limit.limit, allowance, at: now)
      if fit == .unsure { return nil }
      let index = window.take(fit == .fits ? cost : 0)
      isNew = fit == .fits && window.queueOnce()
      return (window.window.decision(fit == .fits, cost: cost, limit: limit.limit, at: now), index)
    }
    if isNew { queue.append(id) }
    return decided.map { (RateLimitDecision.Standing(limit: limit, window: $0), $1) }
  }

  mutating func fit(
    _ applied: AppliedLimit, cost: Int, _ allowance: RateLimitAllowance, at now: Int
  ) -> SharedWindow.Fit {
    withWindow(applied.window, applied.limit) {
      $0.fit(cost: cost, limit: applied.limit.limit, allowance, at: now)
    }
  }

  /// Takes a cost that ``fit(_:cost:_:at:)`` found to fit; returns the index of the window that it was taken from.
  mutating func take(_ applied: AppliedLimit, _ cost: Int) -> Int {
    let id = applied.window
    let (index, isNew) = withWindow(id, applied.limit) { ($0.take(cost), $0.queueOnce()) }
    if isNew { queue.append(id) }
    return index
  }

  mutating func release(_ id: RateLimitWindowID, _ cost: Int, takenAt index: Int) {
    byID[id]?.release(cost, takenAt: index)
  }

  mutating func decided(_ applied: AppliedLimit, index: Int, current: Int, previous: Int) {
    withWindow(applied.window, applied.limit) { $0.decided(index: index, current: current, previous: previous) }
  }

  func peek(_ applied: AppliedLimit, at now: Int) -> SlidingWindow.Decision {
    window(applied).peek(cost: 0, limit: applied.limit.limit, at: now)
  }

  func decision(_ applied: AppliedLimit, _ isAdmitted: Bool, cost: Int, at now: Int) -> SlidingWindow.Decision {
    window(applied).decision(isAdmitted, cost: cost, limit: applied.limit.limit, at: now)
  }

  mutating func takeQueued(_ count: Int, secondsMin: Int) -> [(RateLimitWindowID, SharedWindow.Publication)] {
    var taken: [(RateLimitWindowID, SharedWindow.Publication)] = []
    queue.removeAll { id in
      guard taken.count < count, let publication = byID[id]?.publication, publication.seconds >= secondsMin else {
        return byID[id] == nil
      }
      byID[id]?.isQueued = false
      taken.append((id, publication))
      return true
    }
    return taken
  }

  mutating func exchanged(
    _ id: RateLimitWindowID, _ publication: SharedWindow.Publication, others: SharedWindow.Pair?
  ) {
    if let others {
      byID[id]?.exchanged(publication, others: others)
    } else if byID[id]?.queueOnce() == true {
      queue.append(id)
    }
  }

  private func window(_ applied: AppliedLimit) -> SlidingWindow {
    byID[applied.window]?.window ?? SlidingWindow(seconds: applied.limit.windowSeconds)
  }

  private mutating func withWindow<Result>(
    _ id: RateLimitWindowID, _ limit: RateLimit, _ body: (inout SharedWindow) -> Result
  ) -> Result {
    body(&byID[id, default: SharedWindow(seconds: limit.windowSeconds)])
  }
}

extension SharedWindow {
  /// True if the window is not queued yet; the caller then appends its ID to the queue.
  fileprivate mutating func queueOnce() -> Bool {
    defer { isQueued = true }
    return !isQueued
  }
}
