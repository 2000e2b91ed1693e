import NIOCore
import NIOEmbedded
import Portal
import PortalTesting
import Postgres
import PostgresTesting
import Testing

@testable import PortalHTTP

/// Takes note of what the decoder would get, and of what is read.
private final class Decoder: ChannelDuplexHandler {
  typealias InboundIn = ByteBuffer
  typealias OutboundIn = ByteBuffer

  var received: [String] = []
  var isInputClosed = false

  func channelRead(context: ChannelHandlerContext, data: NIOAny) {
    received.append(String(buffer: unwrapInboundIn(data)))
  }

  func userInboundEventTriggered(context: ChannelHandlerContext, event: Any) {
    if let event = event as? ChannelEvent, event == .inputClosed { isInputClosed = true }
  }
}

private final class Reads: ChannelOutboundHandler {
  typealias OutboundIn = ByteBuffer

  var count = 0

  func read(context: ChannelHandlerContext) {
    count += 1
    context.read()
  }
}

/// A connection whose cache is empty, so that nothing is answered before the decoder.
private struct Connection {
  static let verify = PlainRequestTests.verify
  static let health = "GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n"

  let channel: EmbeddedChannel
  let decoder = Decoder()
  let reads = Reads()

  init(limit: ConnectionLimit = ConnectionLimit(countMax: 100, observer: Observer([]))) throws {
    let pool = PostgresPool(PostgresConfiguration(url: "host=/nowhere"))
    let observer = Observer([])
    let limiter = RateLimiter()
    let verifier = Verifier(
      pool: pool, format: KeyFormat(prefix: "lk")!, cacheLimits: .init(), limiter: limiter,
      limits: RateLimits(pool: pool, limiter: limiter, instanceID: .version7(), observer: observer),
      usage: UsageRecorder(), observer: observer)
    let path = FastPath(
      verifier: verifier, tokens: ServiceTokenCheck(pool: pool, lease: .seconds(2), observer: observer),
      observer: observer)
    channel = EmbeddedChannel()
    try channel.connect(to: try SocketAddress(unixDomainSocketPath: "/x")).wait()
    try channel.pipeline.syncOperations.addHandlers([
      reads, FastPathHandler(path, idleTimeout: .seconds(75), limit: limit), decoder,
    ])
  }

  func send(_ texts: String...) throws {
    for text in texts { try channel.writeInbound(ByteBuffer(string: text)) }
  }

  /// As the handler behind the decoder tells.
  func tell(_ progress: RequestProgress) throws {
    try channel.triggerUserOutboundEvent(progress).wait()
    channel.embeddedEventLoop.run()
  }

  /// Whether it is open, after all that its event loop has to do now.
  var isOpen: Bool {
    channel.embeddedEventLoop.run()
    return channel.isActive
  }

  /// As the kernel tells of a client that takes its answers again, or no longer.
  func setWritable(_ isWritable: Bool) {
    channel.isWritable = isWritable
    channel.pipeline.fireChannelWritabilityChanged()
  }
}

@Suite("FastPathHandler")
struct FastPathHandlerTests {
  @Test("a request that is handed on goes alone, and what follows waits until it is answered")
  func oneAtATime() throws {
    let connection = try Connection()
    try connection.send(Connection.verify + Connection.health + Connection.verify)
    #expect(connection.decoder.received == [Connection.verify])
    try connection.tell(.received)
    #expect(connection.decoder.received.count == 1)
    try connection.tell(.answered)
    #expect(connection.decoder.received == [Connection.verify, Connection.health])
    try connection.send(Connection.health)
    try connection.tell(.answered)
    #expect(connection.decoder.received.count == 3)
    try connection.tell(.answered)
    #expect(connection.decoder.received.count == 4 && connection.decoder.received.last == Connection.health)
  }

  @Test("a request that comes in pieces is handed on as one, when it is whole")
  func pieces() throws {
    let connection = try Connection()
    for character in Connection.verify.utf8.dropLast() {
      try connection.send(String(decoding: [character], as: UTF8.self))
    }
    #expect(connection.decoder.received.isEmpty)
    try connection.send("}")
    #expect(connection.decoder.received == [Connection.verify])
  }

  @Test("from a request that is not plain on, the decoder gets everything as it comes")
  func notPlain() throws {
    let connection = try Connection()
    let odd = "GET /healthz HTTP/1.0\r\n\r\n"
    try connection.send(odd + Connection.health, Connection.verify, "x")
    #expect(connection.decoder.received == [odd + Connection.health, Connection.verify, "x"])
  }

  @Test("the end of the input is not told before what came ahead of it, and half a request is the decoder's to judge")
  func inputEnd() throws {
    let connection = try Connection()
    try connection.send(Connection.verify + Connection.health + "GET /h")
    connection.channel.pipeline.fireUserInboundEventTriggered(ChannelEvent.inputClosed)
    #expect(!connection.decoder.isInputClosed)
    for expected in [2, 3] {
      try connection.tell(.answered)
      #expect(connection.decoder.received.count == expected)
    }
    #expect(connection.decoder.received.last == "GET /h" && connection.decoder.isInputClosed)
  }

  @Test("while an answer is waited for, no more is read than 64 KiB and what came with it")
  func backpressure() throws {
    let connection = try Connection()
    try connection.send(Connection.verify)
    try connection.send(String(repeating: Connection.health, count: 2_000))
    let before = connection.reads.count
    connection.channel.read()
    connection.channel.read()
    #expect(connection.reads.count == before)
    for _ in 0..<500 { try connection.tell(.answered) }
    #expect(connection.reads.count == before + 1 && connection.decoder.received.count == 501)
  }

  @Test("a connection that is silent for 75 seconds is closed, but not while it waits for its answer")
  func idle() throws {
    let connection = try Connection()
    let loop = connection.channel.embeddedEventLoop
    loop.advanceTime(by: .seconds(50))
    try connection.send("GET")
    loop.advanceTime(by: .seconds(70))
    #expect(connection.channel.isActive)
    try connection.send(String(Connection.health.dropFirst(3)))
    try connection.tell(.received)
    loop.advanceTime(by: .seconds(500))
    #expect(connection.channel.isActive)
    try connection.tell(.answered)
    loop.advanceTime(by: .seconds(74))
    #expect(connection.channel.isActive)
    loop.advanceTime(by: .seconds(80))
    #expect(!connection.channel.isActive)
  }

  @Test("of too many connections the one with the oldest answer is closed; what else it has sent does not count")
  func limit() throws {
    let limit = ConnectionLimit(countMax: 2, observer: Observer([]))
    let (first, second) = (try Connection(limit: limit), try Connection(limit: limit))
    first.channel.embeddedEventLoop.advanceTime(by: .seconds(10))
    try first.send(Connection.verify)
    try first.tell(.received)
    try first.tell(.answered)
    second.channel.embeddedEventLoop.advanceTime(by: .seconds(20))
    try second.send("GET")
    let third = try Connection(limit: limit)
    #expect(!second.isOpen && first.isOpen && third.isOpen)
    #expect(limit.count == 2)
    try first.channel.close().wait()
    first.channel.embeddedEventLoop.run()
    #expect(limit.count == 1)
  }

  @Test("who is being answered is not closed, unless it does not take the answer; if nobody is idle, the new one is")
  func answering() throws {
    let limit = ConnectionLimit(countMax: 1, observer: Observer([]))
    let asking = try Connection(limit: limit)
    try asking.send(Connection.verify)
    try asking.tell(.received)
    #expect(try !Connection(limit: limit).isOpen)
    #expect(asking.isOpen && limit.count == 1)
    asking.setWritable(false)
    asking.setWritable(true)
    #expect(try !Connection(limit: limit).isOpen)
    asking.setWritable(false)
    #expect(try Connection(limit: limit).isOpen)
    #expect(!asking.isOpen)
  }

  @Test("a request that comes after its connection was chosen is answered first, and nothing more is read")
  func lateRequest() throws {
    let limit = ConnectionLimit(countMax: 1, observer: Observer([]))
    let chosen = try Connection(limit: limit)
    let next = try Connection(limit: limit)
    try chosen.send(Connection.verify + Connection.health)
    try chosen.tell(.received)
    #expect(chosen.isOpen && next.isOpen)
    let before = chosen.reads.count
    chosen.channel.read()
    #expect(chosen.reads.count == before)
    try chosen.tell(.answered)
    #expect(!chosen.isOpen)
    #expect(chosen.decoder.received == [Connection.verify])
    #expect(limit.count == 1)
  }
}
