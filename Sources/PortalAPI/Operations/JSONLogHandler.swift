package import Foundation
import JSON
package import Logging

/// Writes a log as JSON Lines: one object per event, with its time, level, message, metadata and error.
package struct JSONLogHandler: LogHandler {
  /// Receives a line, including its line ending.
  package typealias Sink = @Sendable ([UInt8]) -> Void

  /// The members that every line has. Metadata with one of these names is written with the prefix `metadata.`.
  private static let reserved: Set<String> = ["time", "level", "message"]

  package var logLevel = Logger.Level.info
  package var metadata: Logger.Metadata = [:]
  package var metadataProvider: Logger.MetadataProvider?
  private let now: @Sendable () -> Date
  private let sink: Sink

  package init(now: @escaping @Sendable () -> Date = { Date() }, sink: @escaping Sink) {
    self.now = now
    self.sink = sink
  }

  package subscript(metadataKey key: String) -> Logger.Metadata.Value? {
    get { metadata[key] }
    set { metadata[key] = newValue }
  }

  package func log(event: LogEvent) {
    var members = metadata
    for more in [metadataProvider?.get(), event.metadata] {
      if let more { members.merge(more) { $1 } }
    }
    if let error = event.error { members["error"] = "\(error)" }
    var json = JSONWriter()
    json.line { json in
      json.field("time", now())
      json.field("level", event.level.rawValue)
      json.field("message", event.message.description)
      for (name, value) in members.sorted(by: { $0.key < $1.key }) {
        json.field(named: Self.reserved.contains(name) ? "metadata." + name : name, "\(value)")
      }
    }
    sink(json.bytes)
  }
}
