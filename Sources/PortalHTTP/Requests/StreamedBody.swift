import Hummingbird
import NIOCore

extension ResponseBody {
  /// A body written piece by piece; each write is awaited before the next. An error in `body` breaks the connection, so
  /// that nobody takes a part for the whole.
  package static func streamed(
    _ body: @escaping @Sendable (_ write: ([UInt8]) async throws -> Void) async throws -> Void
  ) -> ResponseBody {
    ResponseBody { given in
      // Safe: it is only used here, and each write is awaited before the next.
      nonisolated(unsafe) var writer = given
      try await body { try await writer.write(ByteBuffer(bytes: $0)) }
      try await writer.finish(nil)
    }
  }
}
