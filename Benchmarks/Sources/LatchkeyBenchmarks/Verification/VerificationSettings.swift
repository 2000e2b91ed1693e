import ArgumentParser
import Foundation

/// The options of the benchmarks of a running server.
struct VerificationSettings: ParsableArguments {
  @Option(help: "The latchkey binary to measure, built for release.") var binary = ".build/release/latchkey"

  var url: String {
    get throws {
      guard let url = ProcessInfo.processInfo.environment["BENCH_DATABASE_URL"] else {
        throw ValidationError("BENCH_DATABASE_URL is not set; run make bench")
      }
      return url
    }
  }

  /// Runs `body` with a database, a folder for logs and sockets, and the processors for servers and generators.
  func withDatabase(
    pinned: Bool,
    _ body: (_ database: BenchmarkDatabase, _ folder: String, _ cpus: (servers: CPUs, measurers: CPUs)?) throws -> Void
  ) throws {
    guard FileManager.default.isExecutableFile(atPath: binary) else {
      throw ValidationError("there is no \(binary); scripts/build -c release --product latchkey makes it")
    }
    // A Unix socket's path must be short.
    let folder = "/tmp/latchkey-bench-\(ProcessInfo.processInfo.processIdentifier)"
    try FileManager.default.createDirectory(atPath: folder, withIntermediateDirectories: true)
    defer { try? FileManager.default.removeItem(atPath: folder) }
    let database = try BenchmarkDatabase(url: try url, latchkey: binary, log: "\(folder)/migrate.log")
    let cpus = pinned ? CPUs.halves() : nil
    if let cpus {
      // PostgreSQL's backends inherit the affinity.
      try ServerProcess.run(
        ["taskset", "--all-tasks", "--cpu-list", "--pid", cpus.measurers.list, "\(database.postmaster)"],
        log: "\(folder)/taskset.log")
      report("servers on processor \(cpus.servers.list); generator and PostgreSQL on \(cpus.measurers.list)")
    }
    try body(database, folder, cpus)
  }
}

/// Prints a line and flushes the output, which also matters if it is a file.
func report(_ line: String) {
  print(line)
  fflush(nil)
}

/// The median; NaN if there are no values.
func median(_ values: [Double]) -> Double {
  guard !values.isEmpty else { return .nan }
  let sorted = values.sorted()
  let middle = sorted.count / 2
  return sorted.count.isMultiple(of: 2) ? (sorted[middle - 1] + sorted[middle]) / 2 : sorted[middle]
}

/// Formats a number such as `12.3`, or `–` if it is not finite, right-aligned.
func column(_ value: Double, _ decimals: Int, width: Int) -> String {
  let text = value.isFinite ? String(format: "%.\(decimals)f", value) : "–"
  return String(repeating: " ", count: max(0, width - text.count)) + text
}
