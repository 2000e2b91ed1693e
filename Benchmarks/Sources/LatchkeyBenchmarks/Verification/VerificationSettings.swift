import ArgumentParser
import Foundation

/// What the benchmarks of a running server can be told.
struct VerificationSettings: ParsableArguments {
  @Option(help: "The latchkey to measure, built for release.") var binary = ".build/release/latchkey"

  var url: String {
    get throws {
      guard let url = ProcessInfo.processInfo.environment["BENCH_DATABASE_URL"] else {
        throw ValidationError("BENCH_DATABASE_URL is not set; run make bench")
      }
      return url
    }
  }

  /// Runs `body` with a database, a folder for logs and sockets, and the processors of either side.
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
      // Its backends inherit it.
      try ServerProcess.run(
        ["taskset", "--all-tasks", "--cpu-list", "--pid", cpus.measurers.list, "\(database.postmaster)"],
        log: "\(folder)/taskset.log")
      report("servers on processor \(cpus.servers.list); generator and PostgreSQL on \(cpus.measurers.list)")
    }
    try body(database, folder, cpus)
  }
}

/// Prints a line at once, also where the output is a file.
func report(_ line: String) {
  print(line)
  fflush(nil)
}

/// The value in the middle, or the mean of the two.
func median(_ values: [Double]) -> Double {
  guard !values.isEmpty else { return .nan }
  let sorted = values.sorted()
  let middle = sorted.count / 2
  return sorted.count.isMultiple(of: 2) ? (sorted[middle - 1] + sorted[middle]) / 2 : sorted[middle]
}

/// `12.3`, or `–` for what was not measured; right-aligned.
func column(_ value: Double, _ decimals: Int, width: Int) -> String {
  let text = value.isFinite ? String(format: "%.\(decimals)f", value) : "–"
  return String(repeating: " ", count: max(0, width - text.count)) + text
}
