import Foundation
import PortalAPI
import PortalApplication
import PortalHTTP
import PortalTesting
import Postgres
import PostgresTesting
import Testing

@testable import Portal

/// The same keys in two databases: one portal answers before the decoder if it can, the other never does.
struct Twins: Sendable {
  let fast: TestPortal
  let ordinary: TestPortal
  let seed: Seed
  private let startedAt = Date()

  /// Sends the same bytes to both, and expects the same answers. Returns those of the fast one.
  func expectSame(_ parts: [[UInt8]], sourceLocation: SourceLocation = #_sourceLocation) async throws -> String {
    let (fast, ordinary) = try await exchange(parts, parts)
    if let difference = Self.difference(fast, ordinary) {
      Issue.record("\(difference)", sourceLocation: sourceLocation)
    }
    return fast.text
  }

  /// The difference between the answers to the same bytes, which each portal gets cut into other parts; nil if there is
  /// none. The client ends its side after them.
  func difference(_ fastParts: [[UInt8]], _ ordinaryParts: [[UInt8]]) async throws -> String? {
    var attemptsLeft = Self.attemptCountMax
    while true {
      let answers = try await exchange(fastParts, ordinaryParts, endsInput: true)
      let (fast, ordinary) = (answers.fast.withoutTiming, answers.ordinary.withoutTiming)
      guard let difference = Self.difference(fast, ordinary) else { return nil }
      // A request that the end of the input cuts off may have been answered already. Whether the end is refused as well
      // depends on whether that answer had been written, so such a difference must not last.
      attemptsLeft -= 1
      guard attemptsLeft > 0, fast.differsInLastRefusal(from: ordinary) else { return difference }
    }
  }

  private static let attemptCountMax = 5

  private func exchange(
    _ fastParts: [[UInt8]], _ ordinaryParts: [[UInt8]], endsInput: Bool = false
  ) async throws -> (fast: MaskedAnswers, ordinary: MaskedAnswers) {
    let begin = Date()
    async let one = PortalAPITests.exchange(fast, bytes: fastParts, endsInput: endsInput)
    let two = try await PortalAPITests.exchange(ordinary, bytes: ordinaryParts, endsInput: endsInput)
    let answers = (try await one, two)
    let now = Date()
    // The rest of a limit changes with each millisecond, once something was used in the minute before.
    let isSameTime =
      Int(begin.timeIntervalSince1970) == Int(now.timeIntervalSince1970)
      && Int(startedAt.timeIntervalSince1970 / 60) == Int(now.timeIntervalSince1970 / 60)
    return (MaskedAnswers(answers.0, isSameTime), MaskedAnswers(answers.1, isSameTime))
  }

  private static func difference(_ fast: MaskedAnswers, _ ordinary: MaskedAnswers) -> String? {
    if fast.masked == ordinary.masked { return nil }
    let lines = [fast, ordinary].map { $0.masked.components(separatedBy: "⏎") }
    let place = zip(lines[0], lines[1]).prefix { $0 == $1 }.count
    let found = lines.map { $0.dropFirst(place).first ?? "nothing" }
    return "line \(place) of \(lines[0].count) and \(lines[1].count): \(found[0]) ≠ \(found[1])"
  }
}

/// The answers on a connection.
private struct MaskedAnswers {
  let text: String
  /// The text without what differs in every answer and, if time has passed between the two, without what depends on it.
  private(set) var masked: String

  init(_ text: String, _ isSameTime: Bool) {
    self.text = text
    // Swift takes CRLF for one character, which the expressions would not match.
    masked = text.replacing("\r\n", with: "⏎\n").replacing(/X-Request-Id: [0-9a-f-]+/, with: "X-Request-Id: …")
      .replacing(/"requestId":"[0-9a-f-]+"/, with: "\"requestId\":\"…\"").replacing(/Date: [^⏎]+/, with: "Date: …")
    if !isSameTime {
      masked = masked.replacing(
        /(;t=|Reset: |Retry-After: |"(reset|retryAfter)Seconds":)\d+/, with: { "\($0.output.1)…" }
      )
      .replacing(/Content-Length: \d+/, with: "Content-Length: …")
      .replacing(/(;r=|Remaining: |"remaining":)\d+/, with: { "\($0.output.1)…" })
    }
  }

  private static let refused = "refused"

  /// Whether there are answers, and only one of the two has a refusal after them.
  func differsInLastRefusal(from other: MaskedAnswers) -> Bool {
    let (shorter, longer) = masked.count < other.masked.count ? (masked, other.masked) : (other.masked, masked)
    return !shorter.isEmpty && longer == shorter + Self.refused
  }

  /// Without what depends on whether the answer before had been written when bytes arrived. Only then is a client asked
  /// for its body, and only then do bytes that are not HTTP get a problem document instead of an empty 400.
  var withoutTiming: MaskedAnswers {
    var answers = self
    answers.masked = masked.replacing("HTTP/1.1 100 Continue⏎\n⏎\n", with: "")
    if let last = answers.masked.range(of: "HTTP/1.1 ", options: .backwards)?.lowerBound {
      let answer = answers.masked[last...]
      if answer.hasPrefix("HTTP/1.1 400 ") || answer.hasPrefix("HTTP/1.1 431 "),
        answer.lowercased().contains("connection: close⏎")
      {
        answers.masked = String(answers.masked[..<last]) + Self.refused
      }
    }
    return answers
  }
}

/// Accounts, keys and tokens with the same ids and secrets in every database.
struct Seed: Sendable {
  let keys = (0..<22).map { Self.secret("lk_live", "key\($0)") }
  let token = Self.secret("lk_svc", "token")
  let weakToken = Self.secret("lk_svc", "weakToken")
  /// Tokens of one environment each.
  let liveToken = Self.secret("lk_svc", "liveToken")
  let testToken = Self.secret("lk_svc", "testToken")
  /// A token that is bound to one of two apis.
  let boundToken = Self.secret("lk_svc", "boundToken")

  /// A secret that is the same in every run, so that requests with it can be kept. Its 43 characters are zeros and
  /// `name`.
  private static func secret(_ prefix: String, _ name: String) -> String {
    let body = prefix + "_" + String(repeating: "0", count: 43 - name.count) + name
    return body + Base62.encode([UInt64(CRC32.checksum(of: body.utf8))], length: 6)
  }

  var script: String {
    func hash(_ text: String) -> String { "sha256('\(text)')" }
    func id(_ number: Int) -> String { "'00000000-0000-7000-8000-0000000000\(String(format: "%02d", number))'" }
    let (plain, limited, suspended, external) = (id(90), id(91), id(92), id(93))
    let sharing = id(94)
    let named = """
      '[{"name":"odd","limit":30,"windowMilliseconds":86400001},
      {"name":"asked","limit":2,"windowMilliseconds":86400000,"autoApply":false}]'
      """
    // The account, and further columns. Limits that refuse have a window of a day: in a shorter one, more may be left
    // for the portal that is asked a moment later, once a window has ended.
    let settings: [(account: String, columns: String, values: String)] = [
      (plain, "", ""), (plain, ", scopes", ", '{a,b:*}'"), (plain, ", allowed_ips", ", '{10.0.0.0/8,2001:db8::/32}'"),
      (plain, ", expires_at", ", '2020-01-01'"), (plain, ", expires_at", ", '2099-12-31T23:59:59.123Z'"),
      (plain, ", revoked_at", ", now()"), (plain, ", disabled_at", ", now()"), (suspended, "", ""),
      (plain, ", limit_names, limit_values, limit_window_seconds", ", '{few}', '{3}', '{86400}'"),
      (plain, ", limit_names, limit_values, limit_window_seconds", ", '{loose,tight}', '{50,20}', '{86400,86400}'"),
      (limited, "", ""), (plain, ", rate_limit_mode", ", 'consistent'"), (plain, ", environment", ", 'test'"),
      // These are granted something.
      (plain, ", api_id", ", \(id(70))"), (plain, ", api_id", ", \(id(71))"), (plain, "", ""), (plain, "", ""),
      (external, ", scopes, rate_limit_per_minute", ", '{}', null"),
      (
        external, ", rate_limit_per_minute, limit_names, limit_values, limit_window_seconds",
        ", null, '{few}', '{3}', '{86400}'"
      ),
      (plain, ", named_limits", ", \(named)"), (sharing, "", ""),
      (plain, ", scopes, resources", ", '{a}', '{\"p:1\":[\"b:*\"],\"p:2\":[\"z\"]}'"),
    ]
    let rows = settings.enumerated().map { index, setting in
      let isScoped = setting.columns.contains("scopes")
      let hasEnvironment = setting.columns.contains("environment")
      // The usual limit of 60 a minute could be reached on one portal, and have more left on the other a moment later.
      let hasLimit = setting.columns.contains("rate_limit_per_minute")
      return """
        insert into api_keys (id, account_id, name, key_start, key_hash\(hasEnvironment ? "" : ", environment")\
        \(isScoped ? "" : ", scopes")\(hasLimit ? "" : ", rate_limit_per_minute")\(setting.columns))
        values (\(id(index)), \(setting.account), 'Key "\(index)" \\é' || chr(9), 'x', \(hash(keys[index]))\
        \(hasEnvironment ? "" : ", 'live'")\(isScoped ? "" : ", '{*}'")\(hasLimit ? "" : ", 10000")\(setting.values));
        """
    }
    return """
      insert into accounts (id, name, suspended_at, shared_limit_per_minute) values
        (\(plain), 'a', null, null), (\(limited), 'b', null, 1000000), (\(suspended), 'c', now(), null);
      insert into accounts (id, name, plan, kind) values (\(external), 'd', 'external', 'external');
      insert into accounts (id, name, named_limits) values (\(sharing), 'e', \(named));
      insert into service_tokens (id, name, token_hash, permissions, environment) values
        (\(id(80)), 'a', \(hash(token)), '{keys.verify}', null),
        (\(id(81)), 'b', \(hash(weakToken)), '{usage.write}', null),
        (\(id(82)), 'c', \(hash(liveToken)), '{keys.verify}', 'live'),
        (\(id(83)), 'd', \(hash(testToken)), '{keys.verify}', 'test');
      insert into service_tokens (id, name, token_hash, permissions, api_ids) values
        (\(id(84)), 'e', \(hash(boundToken)), '{keys.verify}', array[\(id(70))::uuid]);
      insert into apis (id, slug, name) values (\(id(70)), 'one', 'One'), (\(id(71)), 'two', 'Two');
      update apis set endpoint_limits = '[{"endpoint":"GET /a*","limit":40,"windowMilliseconds":86400000,
        "roles":{"pro":{"limit":4,"windowMilliseconds":86400000}}}]' where id = \(id(71));
      insert into permissions (id, slug) values (\(id(72)), 'a'), (\(id(73)), 'b');
      insert into roles (id, name) values (\(id(74)), 'pro');
      insert into role_permissions (role_id, permission_id) values (\(id(74)), \(id(73)));
      """ + rows.joined(separator: "\n") + """
        insert into key_roles (account_id, key_id, role_id) values
          (\(plain), \(id(14)), \(id(74))), (\(plain), \(id(15)), \(id(74)));
        insert into key_permissions (account_id, key_id, permission_id) values
          (\(plain), \(id(15)), \(id(72))), (\(plain), \(id(16)), \(id(72)));
        """
  }
}

func withTwins(
  configure: @escaping @Sendable (inout PortalSettings) -> Void = { _ in },
  _ body: @escaping @Sendable (Twins) async throws -> Void
) async throws {
  let seed = Seed()
  try await withPortal(.live, configure: configure) { fast in
    try await withPortal(
      .live,
      configure: {
        configure(&$0)
        $0.hasFastPath = false
      }
    ) { ordinary in
      for portal in [fast, ordinary] {
        try await portal.pool.withConnection { try await $0.executeScript(seed.script) }
      }
      try await body(Twins(fast: fast, ordinary: ordinary, seed: seed))
    }
  }
}
