import Foundation
import PortalAPI
import PortalHTTP
import PortalTesting
import PostgresTesting
import Synchronization
import Testing

@testable import PortalServer

@Suite("Under a service manager, with the real binary")
struct SupervisionTests {
  @Test("it reports that it is ready, that it is alive, and that it ends, in this order", arguments: [false, true])
  func notifications(isAbstract: Bool) async throws {
    try await withDatabase { database in
      try await ServiceManager.with(isAbstract: isAbstract) { manager in
        let environment = ["NOTIFY_SOCKET": manager.socket, "WATCHDOG_USEC": "200000"]
        try await withServers(1, on: database, environment: environment) { servers in
          try await eventually("it has reported several times that it is alive") {
            manager.messages.count { $0 == "WATCHDOG=1" } >= 3
          }
          #expect(manager.messages.first == "READY=1")
          #expect(try await servers[0].end() == 0)
          try await eventually("it has reported that it ends") { manager.messages.contains("STOPPING=1") }
          let messages = manager.messages
          #expect(messages.count { $0 == "READY=1" } == 1)
          #expect(messages.count { $0 == "STOPPING=1" } == 1)
          #expect(Set(messages) == ["READY=1", "WATCHDOG=1", "STOPPING=1"])
        }
      }
    }
  }

  @Test("no watchdog messages are sent if WATCHDOG_PID names another process")
  func foreignWatchdog() async throws {
    try await withDatabase { database in
      try await ServiceManager.with { manager in
        let environment = [
          "NOTIFY_SOCKET": manager.socket, "WATCHDOG_USEC": "20000", "WATCHDOG_PID": "1",
        ]
        try await withServers(1, on: database, environment: environment) { servers in
          try await eventually("it is ready") { manager.messages.contains("READY=1") }
          #expect(try await servers[0].end() == 0)
          try await eventually("it has reported that it ends") { manager.messages.contains("STOPPING=1") }
          #expect(manager.messages == ["READY=1", "STOPPING=1"])
        }
      }
    }
  }

  @Test("a suspended process sends nothing")
  func hanging() async throws {
    try await withDatabase { database in
      try await ServiceManager.with { manager in
        let environment = ["NOTIFY_SOCKET": manager.socket, "WATCHDOG_USEC": "100000"]
        try await withServers(1, on: database, environment: environment) { servers in
          try await eventually("it is alive") { manager.messages.contains("WATCHDOG=1") }
          servers[0].send(SIGSTOP)
          // What it had sent before has arrived by now.
          try await Task.sleep(for: .milliseconds(300))
          let count = manager.messages.count
          try await Task.sleep(for: .seconds(1))
          #expect(manager.messages.count == count)
          servers[0].send(SIGCONT)
          try await eventually("it is alive again") { manager.messages.count > count }
          #expect(try await servers[0].end() == 0)
        }
      }
    }
  }

  @Test("a reload before the server is ready is not reported: its end would say that the server is ready")
  func earlyReload() async throws {
    try await ServiceManager.with { manager in
      let (socket, notice) = (NotifySocket(manager.socket), ReadyNotice())
      let count = Atomic(0)
      let service = ReloadService(socket: socket, notice: notice) { count.add(1, ordering: .relaxed) }
      await service.reloadOnce()
      notice.give()
      await service.reloadOnce()
      try await eventually("the reload has ended") { manager.messages.last == "READY=1" }
      #expect(manager.messages.count == 2)
      #expect(manager.messages.first?.hasPrefix("RELOADING=1\nMONOTONIC_USEC=") == true)
      #expect(count.load(ordering: .relaxed) == 2)
    }
  }

  @Test("while the server drains it is not ready, still verifies and closes connections; then it exits with status 0")
  func drain() async throws {
    // Enough for three requests, however busy the machine is.
    let seconds = 8
    try await withDatabase { database in
      try await ServiceManager.with { manager in
        let environment = [
          "NOTIFY_SOCKET": manager.socket, "WATCHDOG_USEC": "200000", "DRAIN_SECONDS": "\(seconds)",
        ]
        try await withServers(1, on: database, environment: environment) { servers in
          let server = servers[0]
          let world = try await DemoWorld(database, server)
          func verify() async throws -> CommandResult {
            try await curl([
              "-i", server.url + "/v1/verify", "-H", "Authorization: Bearer \(world.serviceToken)", "-H",
              "Content-Type: application/json", "-d", "{\"key\":\"\(world.key)\"}",
            ])
          }
          let before = try await verify()
          #expect(before.output.contains("\"VALID\"") && !before.output.lowercased().contains("connection: close"))
          let start = ContinuousClock.now
          async let status = server.end()
          try await eventually("it drains") {
            try await curl([server.url + "/readyz"]).json()["status"].string == "draining"
          }
          let readiness = try await curl(["-o", "/dev/null", "-w", "%{http_code}", server.url + "/readyz"])
          #expect(readiness.output == "503")
          let during = try await verify()
          #expect(during.output.contains("\"VALID\"") && during.output.lowercased().contains("connection: close"))
          try await eventually("it has reported that it ends") { manager.messages.contains("STOPPING=1") }
          #expect(try await status == 0)
          let time = ContinuousClock.now - start
          #expect(time >= .seconds(seconds) && time < .seconds(seconds) + muchTooLong, "\(time)")
          // It reports that it is alive until the end.
          let stopping = try #require(manager.messages.firstIndex(of: "STOPPING=1"))
          #expect(manager.messages[stopping...].contains("WATCHDOG=1"))
          #expect(server.readLog().contains("the server is about to stop and is draining"))
          let refused = try await curl([server.url + "/healthz"])
          #expect(refused.status == 7)
        }
      }
    }
  }
}
