import Foundation
import PostgresTesting

/// Returns the path of a program that `scripts/install-dependencies` installs with the given flag.
func installedProgram(_ name: String, by flag: String) throws -> String {
  let folders = (ProcessInfo.processInfo.environment["PATH"] ?? "") + ":/usr/sbin"
  let paths = folders.split(separator: ":").map { "\($0)/\(name)" }
  guard let path = paths.first(where: FileManager.default.isExecutableFile) else {
    throw TestSetupError(description: "there is no \(name); scripts/install-dependencies \(flag) installs it")
  }
  return path
}

/// A command as the user that runs PostgreSQL: `postgres` if the tests run as root, which PostgreSQL refuses.
func asPostgres(_ command: [String]) -> [String] {
  geteuid() == 0
    ? ["setpriv", "--reuid=postgres", "--regid=postgres", "--init-groups", "--"] + command : command
}

/// Makes that user the owner of a folder and everything in it.
func giveToPostgres(_ folder: String) async throws {
  guard geteuid() == 0 else { return }
  let result = try await run("/usr/bin/env", ["chown", "-R", "postgres:", folder])
  guard result.status == 0 else { throw TestSetupError(description: result.errors) }
}
