import Testing

@testable import PortalHTTP

@Suite("DescriptorBudget")
struct DescriptorBudgetTests {
  private func budget(
    _ limit: Int, poolSizes: [Int] = [10, 10], eventLoopCount: Int = 2, mailThreadCount: Int = 0
  ) -> DescriptorBudget {
    DescriptorBudget(
      limit: limit, poolSizes: poolSizes, eventLoopCount: eventLoopCount, mailThreadCount: mailThreadCount)
  }

  @Test("HTTP connections get the descriptors that are not kept back, which do not depend on the limit")
  func allowed() {
    let usual = budget(1_024)
    // As docs/OPERATIONS.md says.
    #expect(usual.connectionCountAllowed == 815)
    for limit in [0, usual.keptBackCount, usual.keptBackCount + 1, 20_000, 1_048_576] {
      #expect(budget(limit).keptBackCount == usual.keptBackCount)
      #expect(budget(limit).connectionCountAllowed == max(0, limit - usual.keptBackCount))
    }
  }

  @Test("more descriptors are kept back for larger and more pools, for threads and for mail")
  func keptBack() {
    let usual = budget(1_024).keptBackCount
    // Each connection may wait for a commit outside its pool, and have a request to cancel at the same time.
    #expect(budget(1_024, poolSizes: [11, 11]).keptBackCount == usual + 2 * 3)
    #expect(budget(1_024, poolSizes: [10, 10, 10]).keptBackCount > usual + 10 * 3)
    #expect(budget(1_024, eventLoopCount: 3).keptBackCount == usual + 3)
    #expect(budget(1_024, mailThreadCount: 4).keptBackCount > usual + 4)
    var operations = budget(1_024)
    operations.operationsCount = PortalApplication.operationsDescriptorCount
    // As docs/OPERATIONS.md says.
    #expect(operations.keptBackCount == usual + 33)
  }

  @Test("the configured number of connections, or the default, is used if the descriptors allow it")
  func wanted() {
    let few = budget(1_024)
    let many = budget(1_048_576)
    #expect(few.connectionCountMax(nil) == few.connectionCountAllowed)
    #expect(few.connectionCountMax(100) == 100)
    #expect(few.connectionCountMax(5_000) == few.connectionCountAllowed)
    #expect(many.connectionCountMax(nil) == DescriptorBudget.connectionCountStandard)
    #expect(many.connectionCountMax(100_000) == 100_000)
  }

  @Test("with a limit that allows fewer than 16 HTTP connections the server does not start, and says what to do")
  func refusal() {
    let enough = budget(0).keptBackCount + DescriptorBudget.connectionCountMin
    #expect(budget(enough).refusal == nil)
    let refusal = budget(enough - 1).refusal ?? ""
    for part in ["\(enough - 1) descriptors", "LimitNOFILE=", "DATABASE_POOL_SIZE"] {
      #expect(refusal.contains(part))
    }
    #expect(budget(1_024, poolSizes: [200, 200]).refusal != nil)
  }

  @Test("a limit that allows fewer than 1,000 HTTP connections gives a warning with the numbers and what to do")
  func warning() {
    let enough = budget(0).keptBackCount + 1_000
    #expect(budget(enough).warning == nil)
    let warning = budget(enough - 1).warning ?? ""
    for part in ["\(enough - 1) descriptors", "999 HTTP connections", "LimitNOFILE=", "ulimit -n", "--ulimit nofile="] {
      #expect(warning.contains(part))
    }
  }
}
