import NIOCore
import NIOEmbedded
import Portal
import PortalTesting
import Postgres
import PostgresTesting
import Testing

@testable import PortalAPI
@testable import PortalHTTP

/// Records what the decoder would get.
private final class Decoder: ChannelDuplexHandler {
  typealias InboundIn = ByteBuffer
  typealias OutboundIn = ByteBuffer

  var received: [String] = []
  var isInputClosed = false
  var isToldOfShutdown = false

  func channelRead(context: ChannelHandlerContext, data: NIOAny) {
    received.append(String(buffer: unwrapInboundIn(data)))
  }

  func userInboundEventTriggered(context: ChannelHandlerContext, event: Any) {
    if let event = event as? ChannelEvent, event == .inputClosed { isInputClosed = true }
    if event is ChannelShouldQuiesceEvent { isToldOfShutdown = true }
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
  /// The head of a request for no hot route, with a body of 20 bytes.
  static let postHead = "POST /nowhere HTTP/1.1\r\nHost: a\r\nContent-Length: 20\r\n\r\n"
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
      verifier: verifier, tokens: ServiceTokenVerifier(pool: pool, lease: .seconds(2), observer: observer),
      observer: observer)
    channel = EmbeddedChannel()
    try channel.connect(to: try SocketAddress(unixDomainSocketPath: "/x")).wait()
    try channel.pipeline.syncOperations.addHandlers([
      reads,
      FastPathHandler(
        path, isPlaintext: true, timeouts: ConnectionTimeouts(), limit: limit, openedAt: channel.embeddedEventLoop.now),
      decoder,
    ])
  }

  func send(_ texts: String...) throws {
    for text in texts { try channel.writeInbound(ByteBuffer(string: text)) }
  }

  /// Reports progress as the handler behind the decoder does.
  func tell(_ progress: RequestProgress) throws {
    try channel.triggerUserOutboundEvent(progress).wait()
    channel.embeddedEventLoop.run()
  }

  /// Whether the connection is open once its event loop has nothing more to do.
  var isOpen: Bool {
    channel.embeddedEventLoop.run()
    return channel.isActive
  }

  /// Sends `text` once per second, `count` times.
  func drip(_ text: String, times count: Int) throws {
    for _ in 0..<count where channel.isActive {
      channel.read()
      try send(text)
      channel.read()
      channel.embeddedEventLoop.advanceTime(by: .seconds(1))
    }
  }

  /// Tells the connection that the server shuts down.
  func tellOfShutdown() { channel.pipeline.fireUserInboundEventTriggered(ChannelShouldQuiesceEvent()) }

  /// Sets whether the client takes its answers, as the kernel would report it.
  func setWritable(_ isWritable: Bool) {
    channel.isWritable = isWritable
    channel.pipeline.fireChannelWritabilityChanged()
  }
}

@Suite("FastPathHandler")
struct FastPathHandlerTests {
  @Test("a request that is passed on goes alone, and what follows waits until it is answered")
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

  @Test("a request that arrives in pieces is passed on once its head is whole, then its body as it arrives")
  func pieces() throws {
    let connection = try Connection()
    for character in Connection.verify.utf8.dropLast() {
      try connection.send(String(decoding: [character], as: UTF8.self))
    }
    let bodyCount = 11
    #expect(connection.decoder.received.count == bodyCount)
    #expect(connection.decoder.received.first == String(Connection.verify.dropLast(bodyCount)))
    try connection.send("}")
    #expect(connection.decoder.received.joined() == Connection.verify)
  }

  @Test("a body for another route is not buffered, and what follows it waits until the request is answered")
  func bodyInPieces() throws {
    let connection = try Connection()
    let body = String(repeating: "b", count: 10)
    try connection.send(Connection.postHead + "bb")
    try connection.send(body)
    #expect(connection.decoder.received == [Connection.postHead + "bb", body])
    try connection.send("bbbbbbbb" + Connection.health)
    #expect(connection.decoder.received.count == 3 && connection.decoder.received.last == "bbbbbbbb")
    try connection.tell(.received)
    #expect(connection.decoder.received.count == 3)
    try connection.tell(.answered)
    #expect(connection.decoder.received.count == 4 && connection.decoder.received.last == Connection.health)
  }

  @Test("after an early answer, the rest of the body is not taken for a request")
  func earlyAnswer() throws {
    let connection = try Connection()
    try connection.send(Connection.postHead)
    try connection.tell(.answered)
    let rest = "GET / HTTP/1.1\r\n\r\n\r\n"
    #expect(rest.utf8.count == 20)
    try connection.send(rest + Connection.health + Connection.verify)
    #expect(connection.decoder.received == [Connection.postHead, rest])
    try connection.tell(.received)
    #expect(connection.decoder.received == [Connection.postHead, rest, Connection.health])
    try connection.tell(.answered)
    #expect(connection.decoder.received.last == Connection.verify && connection.decoder.received.count == 4)
  }

  @Test("once a request is not plain, the decoder gets everything as it arrives")
  func notPlain() throws {
    let connection = try Connection()
    let odd = "GET /healthz HTTP/1.0\r\n\r\n"
    try connection.send(odd + Connection.health, Connection.verify, "x")
    #expect(connection.decoder.received == [odd + Connection.health, Connection.verify, "x"])
  }

  @Test("the end of the input is passed on after all earlier bytes, and the decoder judges an incomplete request")
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

  @Test("while an answer is pending, no more is read than 64 KiB and what arrived with it")
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

  @Test("while the client takes no answers, nothing is passed on or read; processing then resumes")
  func unwritable() throws {
    let connection = try Connection()
    connection.setWritable(false)
    try connection.send(Connection.health + Connection.verify)
    #expect(connection.decoder.received.isEmpty)
    let before = connection.reads.count
    connection.channel.read()
    connection.channel.read()
    #expect(connection.reads.count == before)
    connection.channel.pipeline.fireUserInboundEventTriggered(ChannelEvent.inputClosed)
    #expect(connection.isOpen && connection.decoder.received.isEmpty && !connection.decoder.isInputClosed)
    connection.setWritable(true)
    #expect(connection.isOpen)
    #expect(connection.decoder.received == [Connection.health])
    #expect(connection.reads.count == before + 1)
    try connection.tell(.answered)
    #expect(connection.decoder.received == [Connection.health, Connection.verify])
    try connection.tell(.answered)
    #expect(connection.decoder.isInputClosed)
  }

  @Test("a client that takes none of its answers for a minute is disconnected")
  func untakenAnswers() throws {
    let connection = try Connection()
    let loop = connection.channel.embeddedEventLoop
    try connection.send(Connection.verify)
    try connection.tell(.received)
    connection.channel.write(ByteBuffer(string: "answer"), promise: nil)
    connection.setWritable(false)
    loop.advanceTime(by: .seconds(59))
    #expect(connection.channel.isActive)
    loop.advanceTime(by: .seconds(1))
    #expect(!connection.channel.isActive)
  }

  @Test("a dripping head is closed after ten seconds and a body after thirty, also when the decoder reads them")
  func dripping() throws {
    for (text, seconds) in [("G", 10), (Connection.postHead, 30), ("GET / HTTP/1.0\r\nA: ", 10)] {
      let connection = try Connection()
      connection.channel.read()
      try connection.send(text)
      try connection.drip("a", times: seconds == 30 ? 15 : 9)
      #expect(connection.channel.isActive, "\(text)")
      if seconds == 30 {
        connection.channel.embeddedEventLoop.advanceTime(by: .seconds(14))
        #expect(connection.channel.isActive, "\(text)")
      }
      connection.channel.embeddedEventLoop.advanceTime(by: .seconds(2))
      #expect(!connection.channel.isActive, "\(text)")
    }
  }

  @Test("a body that the decoder reads is timed from the end of its head, and a whole request restarts the time")
  func drippingBehindDecoder() throws {
    let connection = try Connection()
    connection.channel.read()
    try connection.send("POST /nowhere HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n")
    try connection.tell(.begun)
    try connection.drip("1", times: 29)
    #expect(connection.channel.isActive)
    try connection.tell(.received)
    try connection.tell(.answered)
    connection.channel.embeddedEventLoop.advanceTime(by: .seconds(74))
    #expect(connection.channel.isActive)
    connection.channel.embeddedEventLoop.advanceTime(by: .seconds(1))
    #expect(!connection.channel.isActive)
  }

  @Test("during shutdown, an incomplete request gets ten seconds before its connection is closed")
  func shutdown() throws {
    let connection = try Connection()
    try connection.send("GET /hea")
    connection.tellOfShutdown()
    #expect(!connection.decoder.isToldOfShutdown)
    try connection.send("lthz HTTP/1.1\r\nHost: a\r\n\r\n")
    #expect(connection.decoder.received.count == 1 && connection.decoder.isToldOfShutdown)
    try connection.tell(.received)
    connection.channel.embeddedEventLoop.advanceTime(by: .seconds(9))
    #expect(connection.channel.isActive)
    connection.channel.embeddedEventLoop.advanceTime(by: .seconds(1))
    #expect(!connection.channel.isActive)
    let idle = try Connection()
    idle.tellOfShutdown()
    #expect(idle.decoder.isToldOfShutdown)
  }

  @Test("during shutdown, answers are written before the connection is closed")
  func closeAfterOutput() throws {
    let connection = try Connection()
    connection.tellOfShutdown()
    connection.channel.write(ByteBuffer(string: "answer"), promise: nil)
    connection.channel.close(promise: nil)
    #expect(!connection.isOpen)
    let answer = try connection.channel.readOutbound(as: ByteBuffer.self)
    #expect(answer == ByteBuffer(string: "answer"))
  }

  @Test("a connection without a request for 75 seconds is closed, but not while it waits for an answer")
  func idle() throws {
    let connection = try Connection()
    let loop = connection.channel.embeddedEventLoop
    loop.advanceTime(by: .seconds(70))
    connection.channel.read()
    try connection.send("GET")
    connection.channel.read()
    loop.advanceTime(by: .seconds(9))
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

  @Test("with too many connections, the one with the oldest answer is closed, whatever else it has sent")
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

  @Test("a connection being answered is not closed unless it takes no answer; if none is idle, the new one is closed")
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

  @Test("a request on a connection that was chosen to be closed is answered first, and nothing more is read")
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
