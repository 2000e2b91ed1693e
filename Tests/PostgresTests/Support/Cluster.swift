import Foundation

/// A PostgreSQL server of one test's own, made by `scripts/cluster`, which that test may stop and start.
struct Cluster {
  let directory: String

  struct Failure: Error {
    let output: String
  }

  static func with<Value>(_ body: (Cluster) async throws -> Value) async throws -> Value {
    let cluster = Cluster(directory: "/tmp/latchkey-test-\(UUID().uuidString.prefix(8))")
    try await cluster.script("start", "--fast")
    let result: Result<Value, any Error>
    do { result = .success(try await body(cluster)) } catch { result = .failure(error) }
    try await cluster.script("destroy")
    return try result.get()
  }

  func url() async throws -> String { try await script("url").trimmingCharacters(in: .newlines) }
  func start() async throws { try await script("start") }
  func stop() async throws { try await script("stop") }
  func restart() async throws { try await script("restart") }

  @discardableResult
  private func script(_ command: String, _ options: String...) async throws -> String {
    let process = Process()
    let repository = URL(filePath: #filePath).deletingLastPathComponent().appending(path: "../../..").standardized
    process.executableURL = repository.appending(path: "scripts/cluster")
    process.arguments = [command] + options + [directory]
    let output = Pipe()
    process.standardOutput = output
    let status: Int32 = try await withCheckedThrowingContinuation { continuation in
      process.terminationHandler = { continuation.resume(returning: $0.terminationStatus) }
      do { try process.run() } catch { continuation.resume(throwing: error) }
    }
    let text = String(decoding: try output.fileHandleForReading.readToEnd() ?? Data(), as: UTF8.self)
    guard status == 0 else { throw Failure(output: "scripts/cluster \(command) ended with \(status): \(text)") }
    return text
  }
}
