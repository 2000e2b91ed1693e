package import Foundation
import Synchronization

/// A program that runs alongside the tests, with its output in files.
///
/// Not Foundation's `Process`, which considers a program running as long as any other program, started meanwhile, holds
/// a descriptor that it inherited by chance; and tests start long-running servers from many threads.
package final class ChildProcess: Sendable {
  private struct State {
    var status: Int32?
    var waiters: [CheckedContinuation<Int32, Never>] = []
  }

  package let id: pid_t
  private let state = Mutex(State())

  /// Starts the program at `path`. `input` and `output` are files; errors go to `errors`, or to `output`.
  package init(
    _ path: String, _ arguments: [String] = [], environment: [String: String] = ProcessInfo.processInfo.environment,
    input: String = "/dev/null", output: String, errors: String? = nil
  ) throws {
    var actions = posix_spawn_file_actions_t()
    posix_spawn_file_actions_init(&actions)
    defer { posix_spawn_file_actions_destroy(&actions) }
    posix_spawn_file_actions_addopen(&actions, 0, input, O_RDONLY, 0)
    posix_spawn_file_actions_addopen(&actions, 1, output, O_WRONLY | O_CREAT | O_TRUNC | O_APPEND, 0o600)
    if let errors {
      posix_spawn_file_actions_addopen(&actions, 2, errors, O_WRONLY | O_CREAT | O_TRUNC | O_APPEND, 0o600)
    } else {
      posix_spawn_file_actions_adddup2(&actions, 1, 2)
    }
    // A server's runtime ignores SIGPIPE, a task's thread blocks other signals, and a child inherits both.
    var attributes = posix_spawnattr_t()
    posix_spawnattr_init(&attributes)
    defer { posix_spawnattr_destroy(&attributes) }
    var signals = sigset_t()
    sigfillset(&signals)
    posix_spawnattr_setsigdefault(&attributes, &signals)
    sigemptyset(&signals)
    posix_spawnattr_setsigmask(&attributes, &signals)
    posix_spawnattr_setflags(&attributes, Int16(POSIX_SPAWN_SETSIGDEF | POSIX_SPAWN_SETSIGMASK))
    let words = ([path] + arguments).map { strdup($0) }
    let variables = environment.map { strdup("\($0)=\($1)") }
    defer { for word in words + variables { free(word) } }
    var child = pid_t(0)
    let error = posix_spawn(&child, path, &actions, &attributes, words + [nil], variables + [nil])
    guard error == 0 else { throw POSIXError(POSIXErrorCode(rawValue: error) ?? .EIO) }
    id = child
    Thread.detachNewThread { self.reap() }
  }

  package var isRunning: Bool { state.withLock { $0.status == nil } }

  /// The exit status; for a program killed by a signal, 128 plus the signal, as in a shell.
  package func wait() async -> Int32 {
    await withCheckedContinuation { continuation in
      let status = state.withLock { state in
        if state.status == nil { state.waiters.append(continuation) }
        return state.status
      }
      if let status { continuation.resume(returning: status) }
    }
  }

  /// Sends a signal, unless the program has ended and its process id may belong to another.
  package func send(_ signal: Int32) {
    state.withLock { if $0.status == nil { _ = kill(id, signal) } }
  }

  private func reap() {
    var information = siginfo_t()
    // The process id stays this program's until the status is taken, under the lock.
    while waitid(P_PID, id_t(id), &information, WEXITED | WNOWAIT) == -1, errno == EINTR {}
    let (status, waiters) = state.withLock { state in
      var raw: Int32 = 0
      while waitpid(id, &raw, 0) == -1, errno == EINTR {}
      let signal = raw & 0x7F
      let status = signal == 0 ? raw >> 8 & 0xFF : 128 + signal
      state.status = status
      defer { state.waiters = [] }
      return (status, state.waiters)
    }
    for waiter in waiters { waiter.resume(returning: status) }
  }
}

/// The result of a finished program.
package struct CommandResult: Sendable {
  package var status: Int32
  package var output: String
  package var errors: String
}

/// Runs a program to its end.
package func run(
  _ path: String, _ arguments: [String], environment: [String: String] = ProcessInfo.processInfo.environment,
  input: String? = nil
) async throws -> CommandResult {
  let folder = FileManager.default.temporaryDirectory.appending(path: "latchkey-command-\(UUID())")
  try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
  defer { try? FileManager.default.removeItem(at: folder) }
  let files = (folder.appending(path: "input"), folder.appending(path: "output"), folder.appending(path: "errors"))
  try Data((input ?? "").utf8).write(to: files.0)
  let child = try ChildProcess(
    path, arguments, environment: environment, input: files.0.path, output: files.1.path, errors: files.2.path)
  return CommandResult(
    status: await child.wait(), output: String(decoding: try Data(contentsOf: files.1), as: UTF8.self),
    errors: String(decoding: try Data(contentsOf: files.2), as: UTF8.self))
}
