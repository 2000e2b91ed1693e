/// A periodic background task, which any instance may run.
package struct Job: Sendable {
  package let name: String
  /// The time between the starts of two runs, across all instances.
  package let interval: Duration
  /// What it does, for operators.
  package let summary: String
  /// Runs the job in steps and returns how much it did.
  let perform: @Sendable (JobRun) async throws -> Int
}

extension Job {
  /// Whether its interval has passed since the last run began. Compares seconds, because a `Duration` cannot be
  /// infinite, as the age of a run is whose row says that it began at `-infinity`.
  func isDue(_ last: JobRecord?) -> Bool {
    guard let last else { return true }
    return !(last.ageSeconds < interval / .seconds(1))
  }

  /// The most rows that one statement deletes.
  static let deletedRowCountMax = 10_000
  /// About how many counters one transaction packs.
  static let packedCounterCountMax = 10_000
  /// The most partitions that one run creates for counters without one.
  static let placedMonthCountMax = 36
  /// The most keys for which one statement enqueues expiry notices.
  static let noticedKeyCountMax = 500

  /// All jobs.
  package static func all(_ retention: Retention, _ outbox: Outbox, _ box: SecretBox? = nil) -> [Job] {
    usage(retention) + mail(retention, outbox) + [
      Job(
        name: "invalidations", interval: .seconds(600),
        summary: "Deletes invalidations, and instances, that are older than any lease."
      ) { try await $0.execute(DeleteOldInvalidations()) },
      Job(
        name: "rate-limits", interval: .seconds(600),
        summary: "Deletes limit counts of windows that ended long ago, and adds up those of instances that are gone."
      ) { run in
        var count = try await run.execute(ExpireRateLimitCounts()) + run.execute(ExpireRateLimitWindows())
        count += try await run.deleteAll(DeleteLongRateLimitCounts(limit: deletedRowCountMax))
        while let added = try await run.query(AddUpLongRateLimitCounts(limit: deletedRowCountMax)), added > 0 {
          count += added
        }
        return count
      },
      Job(
        name: "idle-keys", interval: .seconds(3_600),
        summary: "Disables keys that have been idle for longer than their account's policy allows."
      ) { try await $0.disableIdleKeys() },
      Job(
        name: "idempotency", interval: .seconds(60),
        summary: "Deletes sealed secrets after ten minutes, and answers to an Idempotency-Key after a day."
      ) { run in
        try await run.deleteAll(DeleteOldFirstAnswers(limit: deletedRowCountMax))
          + run.deleteAll(DeleteSealedSecrets(limit: deletedRowCountMax))
          + run.deleteAll(DeleteOldAccountRequests(limit: deletedRowCountMax))
      },
      Job(
        name: "attempts", interval: .seconds(600),
        summary: "Deletes login attempts that no longer slow anyone down."
      ) { try await $0.deleteAll(DeleteOldAttempts(limit: deletedRowCountMax)) },
      Job(
        name: "staff-confirmations", interval: .seconds(600),
        summary: "Deletes requests of staff that were not confirmed within a day."
      ) { try await $0.execute(DeleteExpiredConfirmations()) },
      Job(
        name: "second-factors", interval: .seconds(600),
        summary: "Re-encrypts second factors under SECRET_KEY that are encrypted under one of SECRET_KEY_PREVIOUS."
      ) { run in
        guard let box, box.hasPrevious else { return 0 }
        return try await SealingKeys(box: box).sealAnew(run)
      },
      Job(
        name: "erasures", interval: .seconds(60),
        summary: "Continues interrupted removals of erased people from the trails."
      ) { try await $0.finishErasures() },
      Job(name: "sessions", interval: .seconds(600), summary: "Deletes expired and idle sessions.") { run in
        let (hours, limit) = (retention.idleSessionHours, deletedRowCountMax)
        return try await run.deleteAll(DeleteExpiredSessions<MemberSession>(idleHours: hours, limit: limit))
          + run.deleteAll(DeleteExpiredSessions<StaffSession>(idleHours: hours, limit: limit))
      },
      Job(
        name: "refills", interval: .seconds(60),
        summary: "Refills credits that nobody has used since their refill was due."
      ) { try await $0.refillCredits() },
      Job(
        name: "credits", interval: .seconds(60),
        summary: "Takes back credits of instances that were not heard of for CREDITS_FORGIVE_AFTER_SECONDS."
      ) { try await $0.tendCredits(CreditSilence(seconds: retention.creditLeaseSeconds)) },
    ]
  }

  private static func mail(_ retention: Retention, _ outbox: Outbox) -> [Job] {
    [
      Job(
        name: "expiry-notices", interval: .seconds(600),
        summary: "Enqueues mails to owners and admins about keys that expire in 14, 3 and 1 days."
      ) { run in
        guard outbox.isOpen else { return 0 }
        var noticed = 0
        while let count = try await run.query(NoteExpiringKeys(limit: noticedKeyCountMax)), count > 0 {
          noticed += count
        }
        outbox.ring()
        _ = try await run.execute(DeleteOldExpiryNotices())
        return noticed
      },
      Job(
        name: "mails", interval: .seconds(600), summary: "Deletes mails that were finished MAIL_RETENTION_DAYS ago."
      ) { run in
        try await run.deleteAll(DeleteOldMails(days: retention.mailDays, limit: deletedRowCountMax))
      },
      Job(
        name: "one-time-tokens", interval: .seconds(600),
        summary: "Deletes expired tokens, and sign-ups that were not confirmed."
      ) { run in
        try await run.deleteAll(DeleteExpiredOneTimeTokens(limit: deletedRowCountMax))
          + run.deleteAll(DeleteOldSignups(limit: deletedRowCountMax))
      },
    ]
  }

  private static func usage(_ retention: Retention) -> [Job] {
    [
      Job(
        name: "usage-partitions", interval: .seconds(3_600),
        summary: "Creates the partitions of this month and the next three, and those that counters need."
      ) { run in
        var made = try await run.query(EnsureUsagePartitions()) ?? 0
        for _ in 0..<placedMonthCountMax where try await run.query(PlaceUsage()) == true { made += 1 }
        return made
      },
      Job(
        name: "usage-packing", interval: .seconds(3_600),
        summary: "Packs closed days into one row per key and day."
      ) { run in
        var (packed, place) = (0, PackUsage.Place?.none)
        repeat {
          let step = try await run.query(PackUsage(counterCountMax: packedCounterCountMax, after: place))
          packed += step?.count ?? 0
          place = step?.last
        } while place != nil
        return packed
      },
      Job(
        name: "usage-retention", interval: .seconds(3_600),
        summary: "Drops months of usage that are older than USAGE_RETENTION_DAYS."
      ) { try await $0.dropAll(DropUsagePartition(days: retention.usageDays)) },
      Job(
        name: "usage-hours", interval: .seconds(3_600),
        summary: "Deletes hourly totals that are older than USAGE_HOURS_RETENTION_HOURS."
      ) { run in
        try await run.deleteAll(
          DeleteOldUsageHours(hours: retention.usageHourHours, limit: deletedRowCountMax), "hourly totals")
      },
      Job(
        name: "usage-batches", interval: .seconds(600),
        summary: "Deletes batch names that are older than USAGE_BATCHES_RETENTION_DAYS."
      ) { run in
        try await run.deleteAll(
          DeleteOldUsageBatches(days: retention.usageBatchDays, limit: deletedRowCountMax), "names of batches")
      },
      Job(
        name: "usage-sources", interval: .seconds(3_600),
        summary: "Deletes writers of counters that have written nothing for USAGE_SOURCES_RETENTION_DAYS."
      ) { run in
        try await run.deleteAll(
          DeleteOldUsageSources(days: retention.usageSourceDays, limit: deletedRowCountMax), "writers of counters")
      },
    ]
  }
}
