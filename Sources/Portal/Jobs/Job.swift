/// Something that has to be done now and then, whichever instance does it.
package struct Job: Sendable {
  package let name: String
  /// From the beginning of one run to that of the next, on all instances together.
  package let interval: Duration
  /// For operators, what it does.
  package let summary: String
  /// Does it in steps; how much there was to be done.
  let perform: @Sendable (JobRun) async throws -> Int
}

extension Job {
  /// Whether its interval is over since the last run. Not by a `Duration`, which no age is that is infinite: that of a
  /// run which, by its row, began at `-infinity`.
  func isDue(_ last: JobRecord?) -> Bool {
    guard let last else { return true }
    return !(last.ageSeconds < interval / .seconds(1))
  }

  /// Rows that one statement deletes at most.
  static let deletedRowCountMax = 10_000
  /// Counters that one transaction packs, about.
  static let packedCounterCountMax = 10_000
  /// Partitions that one run makes for what has none.
  static let placedMonthCountMax = 36
  /// Keys whose owners one statement tells of their expiry.
  static let noticedKeyCountMax = 500

  /// All there are.
  package static func all(_ retention: Retention, _ outbox: Outbox, _ box: SecretBox? = nil) -> [Job] {
    usage(retention) + mail(retention, outbox) + [
      Job(
        name: "invalidations", interval: .seconds(600),
        summary: "Forgets changes, and instances, that are older than any lease."
      ) { try await $0.execute(DeleteOldInvalidations()) },
      Job(
        name: "rate-limits", interval: .seconds(600),
        summary: "Forgets what was counted for limits in windows long over."
      ) { run in
        try await run.execute(ExpireRateLimitCounts()) + run.execute(ExpireRateLimitWindows())
      },
      Job(
        name: "idle-keys", interval: .seconds(3_600),
        summary: "Disables keys that are idle for longer than their account's policy has it."
      ) { try await $0.disableIdleKeys() },
      Job(
        name: "idempotency", interval: .seconds(60),
        summary: "Forgets sealed secrets after ten minutes, and answers to an Idempotency-Key after a day."
      ) { run in
        try await run.deleteAll(DeleteOldFirstAnswers(limit: deletedRowCountMax))
          + run.deleteAll(DeleteSealedSecrets(limit: deletedRowCountMax))
      },
      Job(
        name: "attempts", interval: .seconds(600),
        summary: "Forgets attempts to log in that no longer slow anybody down."
      ) { try await $0.deleteAll(DeleteOldAttempts(limit: deletedRowCountMax)) },
      Job(
        name: "staff-confirmations", interval: .seconds(600),
        summary: "Forgets what staff asked for and nobody confirmed within a day."
      ) { try await $0.execute(DeleteExpiredConfirmations()) },
      Job(
        name: "second-factors", interval: .seconds(600),
        summary: "Seals second factors under SECRET_KEY that stand under one of SECRET_KEY_PREVIOUS."
      ) { run in
        guard let box, box.hasPrevious else { return 0 }
        return try await SealingKeys(box: box).sealAnew(run)
      },
      Job(
        name: "erasures", interval: .seconds(60),
        summary: "Goes on taking erased people out of the trails, where that was interrupted."
      ) { try await $0.finishErasures() },
      Job(name: "sessions", interval: .seconds(600), summary: "Forgets logins that are over.") { run in
        let (hours, limit) = (retention.idleSessionHours, deletedRowCountMax)
        return try await run.deleteAll(DeleteExpiredSessions<MemberSession>(idleHours: hours, limit: limit))
          + run.deleteAll(DeleteExpiredSessions<StaffSession>(idleHours: hours, limit: limit))
      },
    ]
  }

  private static func mail(_ retention: Retention, _ outbox: Outbox) -> [Job] {
    [
      Job(
        name: "expiry-notices", interval: .seconds(600),
        summary: "Tells owners and admins of keys that expire in 14, 3 and 1 days, where mail is sent."
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
        name: "mails", interval: .seconds(600), summary: "Deletes mails that were done with MAIL_RETENTION_DAYS ago."
      ) { run in
        try await run.deleteAll(DeleteOldMails(days: retention.mailDays, limit: deletedRowCountMax))
      },
      Job(
        name: "one-time-tokens", interval: .seconds(600),
        summary: "Deletes tokens that are over, and sign-ups that nobody confirmed."
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
        summary: "Makes the partitions of the next months, and those that counters lack."
      ) { run in
        var made = try await run.query(EnsureUsagePartitions()) ?? 0
        for _ in 0..<placedMonthCountMax where try await run.query(PlaceUsage()) == true { made += 1 }
        return made
      },
      Job(
        name: "usage-packing", interval: .seconds(3_600),
        summary: "Packs days that are closed, one row for a key's day."
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
        summary: "Deletes names of batches that are older than USAGE_BATCHES_RETENTION_DAYS."
      ) { run in
        try await run.deleteAll(
          DeleteOldUsageBatches(days: retention.usageBatchDays, limit: deletedRowCountMax), "names of batches")
      },
      Job(
        name: "usage-sources", interval: .seconds(3_600),
        summary: "Deletes writers of counters that wrote nothing for USAGE_SOURCES_RETENTION_DAYS."
      ) { run in
        try await run.deleteAll(
          DeleteOldUsageSources(days: retention.usageSourceDays, limit: deletedRowCountMax), "writers of counters")
      },
    ]
  }
}
