import Portal

extension UsageRow {
  static func columns(_ grouping: UsageGrouping) -> [Column<UsageRow>] {
    groupColumns(grouping) + [
      Column("successes") { .count($0.totals.successes) }, Column("errors") { .count($0.totals.errors) },
      Column("denied") { .count($0.totals.denied) },
      Column("averageLatencyMs") { .number($0.totals.averageLatencyMilliseconds) },
      Column("p95LatencyMs") { .number($0.totals.latencyPercentile(0.95)) },
    ]
  }

  private static func groupColumns(_ grouping: UsageGrouping) -> [Column<UsageRow>] {
    switch grouping {
    case .day: [Column("date") { .day($0.day) }]
    case .account:
      [
        Column("accountId") { .id($0.consumer?.accountID) }, Column("accountName") { .text($0.consumer?.accountName) },
      ]
    case .key:
      [
        Column("keyId") { .id($0.consumer?.keyID) }, Column("accountId") { .id($0.consumer?.accountID) },
        Column("name") { .text($0.consumer?.keyName) }, Column("start") { .text($0.consumer?.keyStart) },
      ]
    case .endpoint: [Column("endpoint") { .text($0.endpoint) }]
    case .environment: [Column("environment") { .text($0.environment?.rawValue) }]
    case .api: [Column("apiId") { .id($0.api?.id) }, Column("slug") { .text($0.api?.slug) }]
    }
  }
}

/// Columns of an account, or of one of its keys.
private func columns<Row>(
  of consumers: Consumers, _ consumer: @escaping @Sendable (Row) -> Consumer
) -> [Column<Row>] {
  let account: [Column<Row>] = [
    Column("accountId") { .id(consumer($0).accountID) }, Column("accountName") { .text(consumer($0).accountName) },
  ]
  return switch consumers {
  case .account: account
  case .key:
    [Column("keyId") { .id(consumer($0).keyID) }] + account
      + [Column("name") { .text(consumer($0).keyName) }, Column("start") { .text(consumer($0).keyStart) }]
  }
}

extension TopRow {
  static func columns(_ consumers: Consumers) -> [Column<TopRow>] {
    PortalAPI.columns(of: consumers, \.consumer) + [
      Column("totalRequests") { .count($0.totalRequests) }, Column("successes") { .count($0.successes) },
      Column("errors") { .count($0.errors) }, Column("denied") { .count($0.denied) },
      Column("share") { .ratio($0.share) },
    ]
  }
}

extension UnusedKey {
  static var columns: [Column<UnusedKey>] {
    PortalAPI.columns(of: .key, \.consumer) + [
      Column("createdAt") { .time($0.createdAt) }, Column("lastUsedAt") { .time($0.lastUsedAt) },
    ]
  }
}

extension ErrorRateRow {
  static func columns(_ consumers: Consumers) -> [Column<ErrorRateRow>] {
    PortalAPI.columns(of: consumers, \.consumer) + [
      Column("successes") { .count($0.successes) }, Column("errors") { .count($0.errors) },
      Column("errorRate") { .ratio($0.errorRate) }, Column("lowerBound") { .ratio($0.lowerBound) },
      Column("overallErrorRate") { .ratio($0.overallErrorRate) },
    ]
  }
}

extension GrowthRow {
  static var columns: [Column<GrowthRow>] {
    PortalAPI.columns(of: .account, \.consumer) + [
      Column("requests") { .count($0.requests) }, Column("previousRequests") { .count($0.previousRequests) },
      Column("difference") { .count($0.difference) }, Column("ratio") { .number($0.ratio) },
      Column("score") { .number($0.score) }, Column("isOutlier") { .flag($0.isOutlier) },
    ]
  }
}

extension InvoiceRow {
  static var columns: [Column<InvoiceRow>] {
    [
      Column("externalId") { .text($0.externalID) }, Column("accountId") { .id($0.consumer.accountID) },
      Column("accountName") { .text($0.consumer.accountName) },
      Column("environment") { .text($0.environment?.rawValue) }, Column("apiId") { .id($0.api.id) },
      Column("slug") { .text($0.api.slug) }, Column("successes") { .count($0.successes) },
      Column("errors") { .count($0.errors) }, Column("denied") { .count($0.denied) },
    ]
  }
}
