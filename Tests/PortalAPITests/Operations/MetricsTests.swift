import Foundation
import Portal
import PortalAPI
import PortalApplication
import PortalHTTP
import PortalTesting
import PostgresTesting
import Testing

@Suite("GET /metrics")
struct MetricsTests {
  /// The samples, by name and labels.
  private func samples(_ portal: TestPortal) async throws -> [String: Double] {
    let answer = try await portal.text("/metrics")
    #expect(answer.status == 200)
    #expect(answer.type == "text/plain; version=0.0.4; charset=utf-8")
    var samples: [String: Double] = [:]
    var types: [String: String] = [:]
    var help: String?
    for line in answer.text.split(separator: "\n") {
      if let match = line.wholeMatch(of: /# HELP ([a-z_]+) [A-Z0-9].*\./) {
        help = String(match.output.1)
        continue
      }
      if let match = line.wholeMatch(of: /# TYPE ([a-z_]+) (counter|gauge|histogram)/) {
        #expect(types.updateValue(String(match.output.2), forKey: String(match.output.1)) == nil)
        #expect(help == String(match.output.1), "\(line)")
        continue
      }
      let sample = try #require(line.wholeMatch(of: /([a-z_]+)(\{.*\})? ([0-9.e+-]+)/), "\(line)").output
      let name = String(sample.1)
      let isTyped = types[name] != nil || types[name.replacing(/_(bucket|sum|count)$/, with: "")] == "histogram"
      #expect(isTyped, "\(line)")
      samples[name + (sample.2.map(String.init) ?? "")] = Double(sample.3)
    }
    return samples
  }

  @Test("exposes verifications by code, and the hits, entries and freshness of the cache")
  func verifications() async throws {
    try await withPortal { portal in
      let customer = try await portal.signUp()
      let token = try await portal.makeToken()
      let (_, key) = try await customer.createKey()
      var validCount = 0
      // Until the listener has caught up with the key's creation, the key is looked up each time.
      try await eventually("the key is in the cache") {
        _ = try await portal.verify(key, token: token)
        validCount += 1
        return try await self.samples(portal)["latchkey_cache_hits_total"] ?? 0 > 0
      }
      for _ in 0..<3 { _ = try await portal.verify("nonsense", token: token) }
      _ = try await customer.delete("/v1/keys/" + (try await customer.createKey().id))
      try await eventually("the revocation was applied") {
        try await self.samples(portal)["latchkey_listener_applied_seq"] ?? 0 > 0
      }
      let samples = try await samples(portal)
      #expect(samples[#"latchkey_verifications_total{code="VALID"}"#] == Double(validCount))
      #expect(samples[#"latchkey_verifications_total{code="NOT_FOUND"}"#] == 3)
      #expect(samples[#"latchkey_verifications_total{code="REVOKED"}"#] == 0)
      #expect(samples["latchkey_cache_entries"] == 1)
      #expect(samples["latchkey_cache_fresh_seconds"] ?? -1 >= 0)
      // Background work may hold the only connection for a moment.
      try await eventually("a connection is idle, and nobody waits for one") {
        let samples = try await self.samples(portal)
        return samples[#"latchkey_pool_connections{pool="gateway",state="idle"}"#] ?? 0 > 0
          && samples[#"latchkey_pool_waiters{pool="gateway"}"#] == 0
      }
    }
  }

  @Test("exposes requests by declared route, method and status; clients cannot create labels")
  func requests() async throws {
    try await withPortal { portal in
      let customer = try await portal.signUp()
      let (id, key) = try await customer.createKey()
      for _ in 0..<4 { _ = try await customer.get("/v1/keys/" + id) }
      _ = try await customer.get("/v1/keys/nonsense")
      _ = try await portal.get("/made-up/" + key)
      _ = try await portal.request("BREW", "/v1/keys")
      let samples = try await samples(portal)
      func count(_ labels: String) -> Double? { samples["latchkey_request_duration_seconds_count{\(labels)}"] }
      #expect(count(#"route="/v1/keys/{id}",method="GET",status="200""#) == 4)
      #expect(count(#"route="/v1/keys/{id}",method="GET",status="404""#) == 1)
      #expect(count(#"route="NotFound",method="GET",status="404""#) == 1)
      #expect(count(#"route="NotFound",method="other",status="405""#) == 1)
      let bucket = #"route="/v1/keys/{id}",method="GET",status="200",le="+Inf""#
      #expect(samples["latchkey_request_duration_seconds_bucket{\(bucket)}"] == 4)
      for text in [id, key, customer.token, "made-up", "BREW"] {
        #expect(!samples.keys.contains { $0.contains(text) })
      }
    }
  }

  /// The names of the metrics whose types are in a text.
  private func names(_ text: String) -> Set<String> {
    Set(text.matches(of: /# TYPE ([a-z_]+) [a-z]+/).map { String($0.output.1) })
  }

  @Test("the metrics are exactly those with help text and those in docs/OPERATIONS.md")
  func described() async throws {
    let documentation = try String(contentsOfFile: repositoryRoot + "/docs/OPERATIONS.md", encoding: .utf8)
    let rows = documentation.split(separator: "\n").filter { $0.hasPrefix("| `latchkey_") }
    let cells = rows.compactMap { $0.split(separator: "|").first }
    let documented = cells.flatMap { $0.matches(of: /`(latchkey_[a-z_]+)`/).map { String($0.output.1) } }
    #expect(Set(documented) == Set(PrometheusMetrics.help.keys))
    #expect(documented.count == Set(documented).count)

    // Metrics that appear only with the first event.
    let registry = PrometheusMetrics()
    let observe = Observer.metrics(registry)
    for observation in [
      Observation.mailSent(.invitation), .mailDeferred(.invitation, "x"), .mailFailed(.invitation, "x"),
      .jobFailed("x", "x"), .answered(route: "/", method: "GET", status: 200, nanoseconds: 1),
    ] {
      observe(observation)
    }
    // Only present with a certificate.
    let counted = names(registry.text()).union(["latchkey_tls_certificate_expiry_timestamp_seconds"])
    try await withPortal { portal in
      let scheduler = portal.application.scheduler
      try await eventually("the jobs have run, and the clock offset is known") {
        await scheduler.look()
        return try await names(portal.text("/metrics").text).union(counted) == Set(PrometheusMetrics.help.keys)
      }
    }
  }

  @Test("if a token is configured, the metrics require it, and nothing else does")
  func token() async throws {
    let token = "a-token-of-its-own"
    try await withPortal(configure: { $0.metricsToken = Secret(presented: token) }) { portal in
      let gateway = try await portal.makeToken()
      let staff = try await portal.logInStaff()
      let wrong = ["", "x", token + "x", String(token.dropLast()), String(repeating: "x", count: 300), gateway, staff]
      for other in wrong {
        expectProblem(try await portal.get("/metrics", token: other), 401, "unauthenticated")
      }
      expectProblem(try await portal.get("/metrics"), 401, "unauthenticated")
      let answer = try await portal.text("/metrics", token: token)
      #expect(answer.status == 200 && answer.text.contains("latchkey_cache_entries"))
      let health = try await portal.get("/healthz")
      #expect(health.status == 200)
    }
  }

  @Test("exposes the last run and duration of each job, by any instance, and the counters without a partition")
  func jobs() async throws {
    try await withPortal { first in
      try await withPortal(on: first.database) { second in
        try await first.script(
          """
          -- Its partition cannot be made.
          create table key_usage_3000_01 ();
          insert into key_usage (account_id, key_id, day, endpoint)
            values (gen_random_uuid(), gen_random_uuid(), '3000-01-15', '/')
          """)
        let names = first.application.scheduler.jobs.all.map(\.name)
        for scheduler in [first.application.scheduler, second.application.scheduler] {
          try await eventually("every job has run") {
            await scheduler.look()
            return scheduler.lastReport.records.values.count { $0.succeededAt != nil } == names.count
          }
        }
        for portal in [first, second] {
          let samples = try await samples(portal)
          for name in names {
            let success = try #require(samples["latchkey_job_last_success_timestamp_seconds{job=\"\(name)\"}"])
            #expect(abs(success - Date().timeIntervalSince1970) < 120)
            #expect(samples["latchkey_job_duration_seconds{job=\"\(name)\"}"] ?? -1 >= 0)
          }
          #expect(samples["latchkey_usage_unplaced_counters"] == 1)
        }
      }
    }
  }
}
