import Foundation
import Glibc
import PortalTesting
import PostgresTesting
import Synchronization

/// A test's own two PostgreSQL servers under Patroni, and the etcd that keeps Patroni's lock, on loopback and with all
/// files in one folder.
final class PatroniCluster: Sendable {
  /// How long the lock outlives a primary that vanishes: the shortest that Patroni's documentation allows.
  static let ttl: Duration = .seconds(20)

  struct Member: Sendable {
    var name: String
    var port: Int
    /// The port of Patroni's REST API.
    var apiPort: Int
  }

  /// The first is the initial primary, and the second its synchronous standby.
  let members: [Member]
  private let folder = "/tmp/latchkey-patroni-\(UUID().uuidString.prefix(8))"
  private let etcd: ChildProcess
  private let agents = Mutex<[String: ChildProcess]>([:])

  /// Runs `body` with a primary and a synchronous standby. In a strict cluster, changes wait while there is no standby.
  static func with(isStrict: Bool = false, _ body: (PatroniCluster) async throws -> Void) async throws {
    let cluster = try await PatroniCluster(isStrict: isStrict)
    let result: Result<Void, any Error>
    do {
      // One after the other, so that the first becomes the primary.
      try cluster.start(cluster.members[0])
      try await cluster.wait(for: cluster.members[0], as: .primary, within: .seconds(60))
      try cluster.start(cluster.members[1])
      try await cluster.wait(for: cluster.members[1], as: .synchronous, within: .seconds(60))
      result = .success(try await body(cluster))
    } catch {
      print("a cluster under Patroni failed; the ends of its logs:\n\(cluster.logs)")
      result = .failure(error)
    }
    await cluster.end()
    try result.get()
  }

  private init(isStrict: Bool) async throws {
    members = try ["db1", "db2"].map { Member(name: $0, port: try freePort(), apiPort: try freePort()) }
    let (etcdPort, etcdPeerPort) = (try freePort(), try freePort())
    let programs = try await postgresPrograms()
    try FileManager.default.createDirectory(
      atPath: folder, withIntermediateDirectories: true, attributes: [.posixPermissions: 0o700])
    for member in members {
      let settings = Self.settings(of: member, folder, programs, etcdPort: etcdPort, isStrict: isStrict)
      try settings.write(toFile: "\(folder)/\(member.name).yml", atomically: true, encoding: .utf8)
    }
    try await giveToPostgres(folder)
    let (client, peer) = ("http://127.0.0.1:\(etcdPort)", "http://127.0.0.1:\(etcdPeerPort)")
    etcd = try ChildProcess(
      "/usr/bin/env",
      asPostgres([
        try installedProgram("etcd", by: "--failover"), "--data-dir", folder + "/etcd",
        "--listen-client-urls", client, "--advertise-client-urls", client, "--listen-peer-urls", peer,
        "--initial-advertise-peer-urls", peer, "--initial-cluster", "default=" + peer,
      ]), output: folder + "/etcd.log")
  }

  /// The advice of docs/FAILOVER.md, and settings for quick tests: no fsync, and a lock that is renewed every second.
  private static func settings(
    of member: Member, _ folder: String, _ programs: String, etcdPort: Int, isStrict: Bool
  ) -> String {
    """
    scope: latchkey
    name: \(member.name)
    etcd3:
      host: 127.0.0.1:\(etcdPort)
    restapi:
      listen: 127.0.0.1:\(member.apiPort)
      connect_address: 127.0.0.1:\(member.apiPort)
    bootstrap:
      dcs:
        ttl: \(ttl.components.seconds)
        loop_wait: 1
        retry_timeout: 8
        synchronous_mode: true
        synchronous_mode_strict: \(isStrict)
        postgresql:
          use_pg_rewind: true
          parameters:
            max_connections: 200
            wal_log_hints: "on"
            wal_retrieve_retry_interval: 1s
            fsync: "off"
      initdb:
        - encoding: UTF8
        - locale: C.UTF-8
        - auth: trust
        - no-sync
    postgresql:
      listen: 127.0.0.1:\(member.port)
      connect_address: 127.0.0.1:\(member.port)
      data_dir: \(folder)/\(member.name)
      bin_dir: \(programs)
      pgpass: \(folder)/\(member.name).pgpass
      remove_data_directory_on_rewind_failure: true
      basebackup:
        - checkpoint: fast
        - no-sync
      pg_hba:
        - host all all 127.0.0.1/32 trust
        - host replication all 127.0.0.1/32 trust
      parameters:
        unix_socket_directories: ""
      authentication:
        superuser: {username: postgres}
        replication: {username: replicator}

    """
  }

  /// Creates a migrated database. Its URL names both members, and connects to the primary.
  func makeDatabase() async throws -> TestDatabase {
    let hosts = members.map { "127.0.0.1:\($0.port)" }.joined(separator: ",")
    return try await makeMigratedDatabase { "postgres://postgres@\(hosts)/\($0)?target_session_attrs=read-write" }
  }

  // MARK: Roles

  enum Role: String {
    case primary, synchronous
  }

  /// Waits until a member has a role.
  func wait(for member: Member, as role: Role, within limit: Duration) async throws {
    try await eventually("\(member.name) is \(role)", within: limit) {
      if try await has(member, role) { return true }
      try await Task.sleep(for: .milliseconds(100))
      return false
    }
  }

  /// Asks the health checks that load balancers use.
  private func has(_ member: Member, _ role: Role) async throws -> Bool {
    try await statusCode(["http://127.0.0.1:\(member.apiPort)/\(role.rawValue)"]) == "200"
  }

  // MARK: Faults

  /// Starts a member's Patroni, which creates or repairs the data if necessary and starts PostgreSQL.
  func start(_ member: Member) throws {
    let agent = try ChildProcess(
      "/usr/bin/env",
      asPostgres([try installedProgram("patroni", by: "--failover"), "\(folder)/\(member.name).yml"]),
      output: "\(folder)/\(member.name).log")
    agents.withLock { $0[member.name] = agent }
  }

  private func killAgent(of member: Member) async {
    guard let agent = agents.withLock({ $0.removeValue(forKey: member.name) }) else { return }
    agent.send(SIGKILL)
    _ = await agent.wait()
  }

  /// Kills a member's Patroni and all processes of its PostgreSQL, as if its machine were gone.
  func crash(_ member: Member) async throws {
    await killAgent(of: member)
    guard let parent = processes(of: member).first else {
      throw TestSetupError(description: "PostgreSQL does not run: \(logs)")
    }
    // So that it starts no other processes meanwhile.
    kill(parent, SIGSTOP)
    for process in processes(of: member).reversed() { kill(process, SIGKILL) }
  }

  /// Switches primary and standby, as an administrator does.
  func switchOver() async throws {
    let result = try await run(
      try installedProgram("patronictl", by: "--failover"),
      ["-c", "\(folder)/\(members[0].name).yml", "switchover", "--force"])
    guard result.status == 0 else { throw TestSetupError(description: "\(result)") }
  }

  /// Empty if PostgreSQL does not run: the process in the file of a killed one may be an unrelated one.
  private func processes(of member: Member) -> [Int32] {
    let data = "\(folder)/\(member.name)"
    guard let processes = try? postgresProcesses(data: data), let parent = processes.first,
      let workplace = try? FileManager.default.destinationOfSymbolicLink(atPath: "/proc/\(parent)/cwd"),
      workplace.hasSuffix(data)
    else { return [] }
    return processes
  }

  private func end() async {
    for member in members {
      await killAgent(of: member)
      guard let parent = processes(of: member).first else { continue }
      // PostgreSQL's immediate shutdown leaves no shared memory behind.
      kill(parent, SIGQUIT)
      try? await eventually("it has ended") {
        !FileManager.default.fileExists(atPath: "\(folder)/\(member.name)/postmaster.pid")
      }
    }
    etcd.send(SIGKILL)
    _ = await etcd.wait()
    try? FileManager.default.removeItem(atPath: folder)
  }

  /// The last lines that each program logged since its last start.
  private var logs: String {
    (["etcd"] + members.map(\.name)).map { name in
      let text = (try? String(contentsOfFile: "\(folder)/\(name).log", encoding: .utf8)) ?? ""
      return "--- \(name)\n" + text.split(separator: "\n").suffix(30).joined(separator: "\n")
    }.joined(separator: "\n")
  }
}
