import CBench
// For sigset_t, which the compiler attributes to the first C module that includes it.
import CLibPQ
import Foundation

/// A set of the machine's processors.
struct CPUs: Sendable {
  let numbers: [Int32]

  /// One half for the servers and one for the generators, so that they do not compete; nil if there is only one
  /// processor.
  static func halves() -> (servers: CPUs, measurers: CPUs)? {
    let numbers = [Int32](unsafeUninitializedCapacity: 1_024) { buffer, count in
      count = Int(bench_allowed_cpus(buffer.baseAddress, 1_024))
    }
    guard numbers.count > 1 else { return nil }
    let half = numbers.count / 2
    return (CPUs(numbers: Array(numbers[..<half])), CPUs(numbers: Array(numbers[half...])))
  }

  var list: String { numbers.map(String.init).joined(separator: ",") }

  func pinThread() { bench_pin(numbers, Int32(numbers.count)) }
}

/// A program that runs in another process until `stop()`.
final class ServerProcess {
  struct Failure: Error, CustomStringConvertible {
    var description: String
  }

  let pid: pid_t
  private let log: String
  private var isRunning = true

  /// Starts the program. Its output is written to the file `log`.
  init(_ command: [String], environment: [String: String] = [:], cpus: CPUs?, log: String) throws {
    self.log = log
    // Ends the program in any case when the benchmark ends.
    let guarded = ["setpriv", "--pdeathsig", "TERM", "--"]
    let pinned = guarded + (cpus.map { ["taskset", "--cpu-list", $0.list] } ?? []) + command
    let variables = ProcessInfo.processInfo.environment.merging(environment) { _, new in new }
    pid = try spawn(pinned, variables.map { "\($0.key)=\($0.value)" }, log: log)
  }

  deinit { stop() }

  func stop() { end(by: SIGTERM) }

  /// Ends it like Ctrl-C.
  func interrupt() { end(by: SIGINT) }

  private func end(by signal: Int32) {
    guard isRunning else { return }
    isRunning = false
    kill(pid, signal)
    waitpid(pid, nil, 0)
  }

  /// Waits until `condition` holds.
  func waitUntil(_ what: String, within seconds: Double = 30, _ condition: () -> Bool) throws {
    let deadline = ContinuousClock.now + .seconds(seconds)
    while !condition() {
      var status: Int32 = 0
      if waitpid(pid, &status, WNOHANG) != 0 { isRunning = false }
      guard isRunning, .now < deadline else {
        let end = (try? String(contentsOfFile: log, encoding: .utf8))?.suffix(2_000) ?? ""
        throw Failure(description: "\(what) did not come; the end of its log:\n\(end)")
      }
      Thread.sleep(forTimeInterval: 0.02)
    }
  }

  /// Runs a command to its end, and returns its output. Throws ``Failure`` if it fails.
  @discardableResult
  static func run(_ command: [String], environment: [String: String] = [:], log: String) throws -> String {
    let variables = ProcessInfo.processInfo.environment.merging(environment) { _, new in new }
    let pid = try spawn(command, variables.map { "\($0.key)=\($0.value)" }, log: log)
    var status: Int32 = 0
    waitpid(pid, &status, 0)
    let output = (try? String(contentsOfFile: log, encoding: .utf8)) ?? ""
    guard status == 0 else { throw Failure(description: "\(command.joined(separator: " ")) failed: \(output)") }
    return output
  }
}

private func spawn(_ command: [String], _ environment: [String], log: String) throws -> pid_t {
  var actions = posix_spawn_file_actions_t()
  posix_spawn_file_actions_init(&actions)
  defer { posix_spawn_file_actions_destroy(&actions) }
  posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDONLY, 0)
  posix_spawn_file_actions_addopen(&actions, 1, log, O_WRONLY | O_CREAT | O_TRUNC, 0o600)
  posix_spawn_file_actions_adddup2(&actions, 1, 2)
  // A task's thread blocks signals, and a child would inherit the signal mask.
  var attributes = posix_spawnattr_t()
  posix_spawnattr_init(&attributes)
  defer { posix_spawnattr_destroy(&attributes) }
  var none = sigset_t()
  sigemptyset(&none)
  posix_spawnattr_setsigmask(&attributes, &none)
  posix_spawnattr_setflags(&attributes, Int16(POSIX_SPAWN_SETSIGMASK))
  var pid: pid_t = 0
  let arguments = command.map { strdup($0) } + [nil]
  let variables = environment.map { strdup($0) } + [nil]
  defer { for pointer in arguments + variables { free(pointer) } }
  let error = posix_spawnp(&pid, command[0], &actions, &attributes, arguments, variables)
  guard error == 0 else {
    throw ServerProcess.Failure(description: "\(command[0]) did not start: \(String(cString: strerror(error)))")
  }
  return pid
}

/// Information about processes from `/proc`.
enum ProcessTable {
  /// The CPU seconds of a process and its children in user and kernel mode, including all their threads and the
  /// process's ended children.
  static func cpuSeconds(ofTree root: pid_t) -> Double {
    let processes = [root] + children(of: root)
    let ticks = processes.reduce(0) { sum, pid in
      let fields = stat(of: pid)
      // utime and stime; for the root also cutime and cstime, of the children that were waited for.
      return sum + (pid == root ? 11..<15 : 11..<13).reduce(0) { $0 + (fields.count > $1 ? Int(fields[$1]) ?? 0 : 0) }
    }
    return Double(ticks) / Double(sysconf(Int32(_SC_CLK_TCK)))
  }

  /// Seconds of processor time that the threads of a process have used, in nanoseconds' resolution
  /// (`/proc/PID/task/TID/schedstat`). Threads that have ended are not included.
  static func scheduledSeconds(of pid: pid_t) -> Double {
    let threads = (try? FileManager.default.contentsOfDirectory(atPath: "/proc/\(pid)/task")) ?? []
    return threads.reduce(0) { sum, thread in
      let text = (try? String(contentsOfFile: "/proc/\(pid)/task/\(thread)/schedstat", encoding: .utf8)) ?? ""
      return sum + (text.split(separator: " ").first.flatMap { Double($0) } ?? 0)
    } / 1e9
  }

  /// As ``scheduledSeconds(of:)``, of a process and its children.
  static func scheduledSeconds(ofTree root: pid_t) -> Double {
    ([root] + children(of: root)).reduce(0) { $0 + scheduledSeconds(of: $1) }
  }

  struct ThreadID: Hashable {
    let number: String
    let name: String
  }

  /// As ``scheduledSeconds(of:)``, by thread.
  static func scheduledSecondsByThread(of pid: pid_t) -> [ThreadID: Double] {
    let threads = (try? FileManager.default.contentsOfDirectory(atPath: "/proc/\(pid)/task")) ?? []
    return threads.reduce(into: [:]) { seconds, thread in
      func read(_ file: String) -> String {
        (try? String(contentsOfFile: "/proc/\(pid)/task/\(thread)/\(file)", encoding: .utf8)) ?? ""
      }
      let name = read("comm").trimmingCharacters(in: .whitespacesAndNewlines)
      seconds[ThreadID(number: thread, name: name)] =
        (read("schedstat").split(separator: " ").first.flatMap { Double($0) } ?? 0) / 1e9
    }
  }

  static func parent(of pid: pid_t) -> pid_t { stat(of: pid).dropFirst().first.flatMap { pid_t($0) } ?? 0 }

  /// Resident memory in bytes.
  static func residentBytes(of pid: pid_t) -> Int {
    let status = (try? String(contentsOfFile: "/proc/\(pid)/status", encoding: .utf8)) ?? ""
    return status.firstMatch(of: /VmRSS:\s+(\d+) kB/).flatMap { Int($0.output.1) }.map { $0 << 10 } ?? 0
  }

  static func isTraced(_ pid: pid_t) -> Bool {
    let status = (try? String(contentsOfFile: "/proc/\(pid)/status", encoding: .utf8)) ?? ""
    return status.contains(/TracerPid:\s+[1-9]/)
  }

  static func children(of root: pid_t) -> [pid_t] {
    let names = (try? FileManager.default.contentsOfDirectory(atPath: "/proc")) ?? []
    return names.compactMap { pid_t($0) }.filter { parent(of: $0) == root }
  }

  /// The fields of `/proc/PID/stat` from the third on. The second may contain any characters.
  private static func stat(of pid: pid_t) -> [Substring] {
    let text = (try? String(contentsOfFile: "/proc/\(pid)/stat", encoding: .utf8)) ?? ""
    guard let end = text.lastIndex(of: ")") else { return [] }
    return text[text.index(after: end)...].split(separator: " ")
  }
}
