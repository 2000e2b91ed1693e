package import Foundation

/// One row of `invalidation_log`: what must no longer be answered from a cache.
package struct Invalidation: Sendable, Equatable {
  package enum Target: Sendable, Equatable {
    case key(UUID, account: UUID)
    case account(UUID)
    case serviceToken(UUID)
    case everything
  }

  package var seq: Int
  package var target: Target

  package init(seq: Int, target: Target) {
    self.seq = seq
    self.target = target
  }
}

/// Where the log stood when something was read from the database.
package struct LogPosition: Sendable, Equatable {
  /// Another one means that the history is another: after a restore, or a failover that lost commits.
  package var epoch: UUID
  package var seq: Int

  package init(epoch: UUID, seq: Int) {
    self.epoch = epoch
    self.seq = seq
  }
}

/// What one look at the log found: everything above the seq that was asked for, read in one statement with the head.
package struct SyncResult: Sendable, Equatable {
  package var head: LogPosition
  package var invalidations: [Invalidation]
  /// When the statement was sent: freshness counts from here.
  package var startedAt: ContinuousClock.Instant

  package init(head: LogPosition, invalidations: [Invalidation], startedAt: ContinuousClock.Instant) {
    self.head = head
    self.invalidations = invalidations
    self.startedAt = startedAt
  }
}

/// Something cached that an invalidation can hit.
package protocol Invalidatable: Sendable {
  /// The id of the key or token itself.
  var id: UUID { get }
  /// The account that it falls with, if any.
  var owner: UUID? { get }
}

extension Invalidatable {
  func isHit(by target: Invalidation.Target) -> Bool {
    switch target {
    case .key(let key, _): id == key
    case .serviceToken(let token): id == token
    case .account(let account): owner == account
    case .everything: true
    }
  }
}

extension VerifiableKey: Invalidatable {
  package var owner: UUID? { accountID }
}
