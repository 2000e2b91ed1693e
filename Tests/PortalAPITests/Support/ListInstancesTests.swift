import PortalAPI
import PortalHTTP
import PortalTesting
import PostgresTesting
import Testing

@Suite("GET /v1/support/instances")
struct ListInstancesTests {
  @Test("lists every instance with its progress and the time for which it is fresh, those that lag first")
  func instances() async throws {
    try await withPortal { portal in
      let staff = try await portal.logInStaff()
      let customer = try await portal.signUp()
      _ = try await customer.delete("/v1/keys/" + (try await customer.createKey().id))
      try await portal.script(
        """
        insert into instances (id, name, lease_milliseconds, applied_seq, heartbeat_at)
        values ('018f4e6a-0000-7000-8000-000000000000', 'asleep', 2000, 0, now() - interval '1 minute')
        """)
      // The acknowledgment of the last change may still be in transit.
      try await eventually("the instance is up to date") {
        try await portal.get("/v1/support/instances", token: staff).body["instances"][1]["lag"].integer == 0
      }
      let answer = try await portal.get("/v1/support/instances", token: staff)
      #expect(answer.status == 200)
      #expect(answer.body.names == ["instances"])
      let instances = answer.body["instances"].array
      #expect(instances.count == 2)
      for instance in instances {
        #expect(
          instance.names == [
            "id", "name", "startedAt", "heartbeatAt", "leaseMilliseconds", "freshMilliseconds", "appliedSeq", "lag",
          ])
        #expect(instance["startedAt"].isTime && instance["heartbeatAt"].isTime)
        #expect(instance["leaseMilliseconds"].integer == 2_000)
      }
      #expect(instances[0]["name"].string == "asleep")
      #expect(instances[0]["freshMilliseconds"].integer == 0)
      #expect(instances[0]["lag"].integer == instances[1]["appliedSeq"].integer)
      #expect(instances[1]["id"].isID)
      #expect(instances[1]["appliedSeq"].integer ?? 0 > 0)
      #expect((0...2_000).contains(instances[1]["freshMilliseconds"].integer ?? -1))
    }
  }
}
