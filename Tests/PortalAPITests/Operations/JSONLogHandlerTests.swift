import Foundation
import JSON
import Logging
import PortalAPI
import PortalHTTP
import Synchronization
import Testing

@Suite("The log as JSON Lines")
struct JSONLogHandlerTests {
  private struct Oops: Error, CustomStringConvertible {
    var description: String { "oops" }
  }

  private final class Lines: Sendable {
    private let bytes = Mutex<[UInt8]>([])
    var text: String { bytes.withLock { String(decoding: $0, as: UTF8.self) } }
    func add(_ line: [UInt8]) { bytes.withLock { $0 += line } }
  }

  /// The output of `body`, at 16 minutes and 40 seconds past midnight.
  private func log(_ body: (inout Logger) -> Void) -> String {
    let lines = Lines()
    var logger = Logger(label: "test") { _ in
      JSONLogHandler(now: { Date(timeIntervalSince1970: 1_000) }, sink: { lines.add($0) })
    }
    body(&logger)
    return lines.text
  }

  @Test("each line is an object with time, level, message and metadata, whatever they contain")
  func lines() throws {
    let text = log { logger in
      logger.warning("a \"word\"\nand a line", metadata: ["reason": "\u{1B}[31m\\", "attempts": "\(3)"])
      logger.error("", metadata: ["list": ["a", "b"]])
    }
    #expect(
      text == """
        {"time":"1970-01-01T00:16:40.000Z","level":"warning","message":"a \\"word\\"\\u000aand a line",\
        "attempts":"3","reason":"\\u001b[31m\\\\"}
        {"time":"1970-01-01T00:16:40.000Z","level":"error","message":"","list":"[\\"a\\", \\"b\\"]"}

        """)
    for line in text.split(separator: "\n") { _ = try JSONParser.parse(line.utf8) }
  }

  @Test("metadata of the logger and the event is merged, and never replaces the line's own members")
  func metadata() {
    let text = log { logger in
      logger[metadataKey: "hb.request.id"] = "7"
      logger[metadataKey: "kind"] = "old"
      logger.notice("m", metadata: ["kind": "new", "message": "x", "level": "debug", "time": "never"])
    }
    #expect(
      text == """
        {"time":"1970-01-01T00:16:40.000Z","level":"notice","message":"m","hb.request.id":"7","kind":"new",\
        "metadata.level":"debug","metadata.message":"x","metadata.time":"never"}

        """)
  }

  @Test("an error has a member of its own")
  func error() {
    let handler = Lines()
    JSONLogHandler(now: { Date(timeIntervalSince1970: 1_000) }, sink: { handler.add($0) }).log(
      event: LogEvent(
        level: .error, message: "m", error: Oops(), metadata: nil, source: nil, file: "", function: "", line: 1))
    #expect(
      handler.text == """
        {"time":"1970-01-01T00:16:40.000Z","level":"error","message":"m","error":"oops"}

        """)
  }

  @Test("nothing is written below the log level")
  func level() {
    let text = log { logger in
      logger.debug("no")
      logger.logLevel = .debug
      logger.trace("no")
    }
    #expect(text.isEmpty)
  }
}
