import ArgumentParser
import Foundation

struct Memory: ParsableCommand {
  static let configuration = CommandConfiguration(
    abstract: "The memory that a cached key takes.",
    discussion: """
      The increase of an instance's resident memory after every key was verified once through the batch route. It \
      includes what belongs to a key in use: its cache entry, its limit's window, and what the allocator keeps of the \
      counters that were written since. Then the same of another instance that has read the keys into its cache at its \
      start: only the cache. Keys have two scopes, a name of 20 characters and no addresses, and each account has 25.
      """)

  @OptionGroup var settings: VerificationSettings
  @Option(help: "How many keys.") var keys = 1_000_000

  func validate() throws {
    guard (10_000...8_000_000).contains(keys) else { throw ValidationError("10,000…8,000,000 keys") }
  }

  func run() throws {
    try settings.withDatabase(pinned: false) { database, folder, _ in
      let mix = KeyMix.sequential(knownCount: keys, unknownCount: 0)
      try database.insert(mix, rateLimitPerMinute: 60)
      let server = try LatchkeyServer(
        binary: settings.binary, database: database, environment: ["CACHE_ENTRIES": "\(keys + keys / 5)"], cpus: nil,
        folder: folder, name: "memory")
      defer { server.process.stop() }
      func resident() -> Int { ProcessTable.residentBytes(of: server.process.pid) }
      func reportStep(_ what: String, since before: Int, _ verified: Int) {
        let now = resident()
        let name = what.padding(toLength: 24, withPad: " ", startingAt: 0)
        let mebibytes = column(Double(now) / 1_048_576, 1, width: 8)
        let perKey = verified == 0 ? "" : column(Double(now - before) / Double(verified), 0, width: 7) + " bytes a key"
        report("\(name) \(mebibytes) MiB \(perKey)")
      }

      let before = resident()
      reportStep("started:", since: before, 0)
      try server.verifyAll(of: mix) { verified in
        if verified.isMultiple(of: keys / 10) { reportStep("\(verified) verified:", since: before, verified) }
      }
      try server.waitUntilFlushed(keys)
      reportStep("all counters written:", since: before, keys)
      report("in the cache: \(Int(try server.metric("latchkey_cache_entries"))) keys")

      let preloading = try LatchkeyServer(
        binary: settings.binary, database: database,
        environment: ["CACHE_ENTRIES": "\(keys + keys / 5)", "CACHE_PRELOAD": "\(keys)"], cpus: nil, folder: folder,
        name: "preloading")
      defer { preloading.process.stop() }
      let cached = ProcessTable.residentBytes(of: preloading.process.pid)
      report(
        "another server that has read \(Int(try preloading.metric("latchkey_cache_entries"))) keys into its cache and "
          + "nothing else: \(column(Double(cached) / 1_048_576, 1, width: 0)) MiB, "
          + "\(column(Double(cached - before) / Double(keys), 0, width: 0)) bytes a key")
    }
  }
}
