import NIOCore
import Portal
import Testing

@testable import PortalAPI
@testable import PortalHTTP

extension FastPathState {
  /// The next step in a few words, because look-ups cannot be compared.
  fileprivate mutating func words(isWritable: Bool) -> String {
    switch next(isWritable: isWritable) {
    case .wait: "wait"
    case .frame: "frame"
    case .answer: "answer \(request.byteCount)\(lookUp == nil ? "" : " after a look-up")"
    case .handOn(let count): "hand on \(count)"
    case .drop(let count): "drop \(count)"
    case .resumeSoon: "resume soon"
    }
  }
}

@Suite("FastPathState")
struct FastPathStateTests {
  private var state = FastPathState(ConnectionTimeouts(), answers: true, openedAt: Self.at(0))

  private static func at(_ seconds: Int64) -> NIODeadline { .uptimeNanoseconds(0) + .seconds(seconds) }

  /// A request of 100 bytes, with a body.
  private let request = PlainRequest(target: .verify, fields: .init(), byteCount: 100, bodyCount: 20)
  private let lookUp = FastPath.LookUp(start: DatabaseClock().now, questions: [], hashes: [])

  private mutating func next(isWritable: Bool = true) -> String { state.words(isWritable: isWritable) }

  /// Reads a whole request, and `more` bytes behind it.
  private mutating func readRequest(and more: Int = 0) {
    state.read(request.byteCount + more, at: Self.at(1))
    #expect(next() == "frame")
    state.framed(.complete(request), isGathered: false)
    #expect(next() == "answer 100")
  }

  /// Passes on a whole request, with `more` bytes waiting behind it.
  private mutating func handOnRequest(and more: Int = 0) {
    readRequest(and: more)
    state.declined()
    #expect(next() == "hand on 100")
    #expect(next() == "wait")
  }

  // MARK: Bytes

  @Test("requests that arrive together are answered one after the other")
  mutating func answered() {
    readRequest(and: 100)
    #expect(state.answered() == 100)
    #expect(state.pendingCount == 100)
    #expect(next() == "frame")
    state.framed(.complete(request), isGathered: false)
    #expect(next() == "answer 100")
    #expect(state.answered() == 100)
    #expect(state.pendingCount == 0)
    #expect(next() == "wait")
    #expect(state.takeCompletion() == false)
  }

  @Test("an incomplete head is parsed again only when enough bytes have arrived")
  mutating func incomplete() {
    state.read(10, at: Self.at(1))
    #expect(next() == "frame")
    state.framed(.incomplete(atLeast: 12), isGathered: false)
    #expect(next() == "wait")
    state.read(1, at: Self.at(2))
    #expect(next() == "wait")
    state.read(1, at: Self.at(3))
    #expect(next() == "frame")
    #expect(state.checkAt == Self.at(11))
  }

  @Test("the head of a buffered body is parsed once")
  mutating func gathered() {
    state.read(80, at: Self.at(1))
    #expect(next() == "frame")
    state.framed(.body(request), isGathered: true)
    #expect(next() == "wait")
    state.read(19, at: Self.at(2))
    #expect(next() == "wait")
    state.read(1, at: Self.at(3))
    #expect(next() == "answer 100")
  }

  @Test("an unbuffered body is passed on as it arrives, and what follows waits until the request is answered")
  mutating func streamed() {
    state.read(80, at: Self.at(1))
    #expect(next() == "frame")
    state.framed(.body(request), isGathered: false)
    #expect(next() == "hand on 80")
    #expect(next() == "wait")
    #expect(state.progressed(.answered, at: Self.at(1)) == .nothing)
    state.read(70, at: Self.at(2))
    #expect(next() == "hand on 20")
    #expect(next() == "resume soon")
    #expect(state.pendingCount == 50)
    #expect(state.resume(at: Self.at(2), isWritable: true) == .goOn)
    #expect(next() == "frame")
  }

  @Test("a request that is not plain is passed on with everything after it")
  mutating func notPlain() {
    state.read(30, at: Self.at(1))
    #expect(next() == "frame")
    state.framed(.notPlain, isGathered: false)
    #expect(next() == "hand on 30")
    state.read(5, at: Self.at(2))
    #expect(next(isWritable: false) == "hand on 5")
    #expect(state.takeCompletion() == true)
    var none = FastPathState(ConnectionTimeouts(), answers: false, openedAt: Self.at(0))
    none.read(5, at: Self.at(1))
    #expect(none.words(isWritable: true) == "hand on 5")
  }

  @Test(
    "a declined request goes alone; what follows waits for its answer, even one written from within a write")
  mutating func declined() {
    handOnRequest(and: 40)
    #expect(state.takeCompletion() == true)
    #expect(state.takeCompletion() == false)
    #expect(state.progressed(.received, at: Self.at(2)) == .nothing)
    #expect(state.resume(at: Self.at(2), isWritable: true) == .nothing)
    #expect(state.progressed(.answered, at: Self.at(3)) == .resumeSoon)
    #expect(next() == "resume soon")
    #expect(state.resume(at: Self.at(3), isWritable: true) == .goOn)
    #expect(next() == "frame")
  }

  // MARK: Look-ups

  @Test("after a look-up, the request is answered without being parsed again, and no other look-up has an effect")
  mutating func lookedUp() {
    readRequest(and: 40)
    let number = state.beginLookUp()
    state.read(10, at: Self.at(2))
    #expect(next() == "wait")
    #expect(state.endLookUp(number + 1, lookUp, at: Self.at(2)) == .nothing)
    #expect(state.endLookUp(number, lookUp, at: Self.at(2)) == .goOn)
    #expect(state.endLookUp(number, lookUp, at: Self.at(2)) == .nothing)
    #expect(next() == "answer 100 after a look-up")
    #expect(state.answered() == 100)
    #expect(state.pendingCount == 50)
    #expect(next() == "frame")
  }

  @Test("a request whose look-up found nothing is passed on alone")
  mutating func lookedUpInVain() {
    readRequest(and: 40)
    let number = state.beginLookUp()
    #expect(state.endLookUp(number, lookUp, at: Self.at(2)) == .goOn)
    #expect(next() == "answer 100 after a look-up")
    state.declined()
    #expect(next() == "hand on 100")
    #expect(next() == "wait")
    #expect(state.pendingCount == 40)
  }

  @Test("a client that takes nothing during a look-up gets its answer, with what was found, once it does")
  mutating func unwritableWhileLookingUp() {
    readRequest()
    let number = state.beginLookUp()
    #expect(state.writabilityChanged(false, bufferedCount: 10, at: Self.at(2)) == .nothing)
    #expect(state.endLookUp(number, lookUp, at: Self.at(3)) == .goOn)
    #expect(next(isWritable: false) == "wait")
    #expect(state.writabilityChanged(true, bufferedCount: 0, at: Self.at(4)) == .resumeSoon)
    #expect(state.resume(at: Self.at(4), isWritable: true) == .goOn)
    #expect(next() == "answer 100 after a look-up")
  }

  // MARK: The client's answers

  @Test("while the client takes no answers, nothing is parsed or read; both resume when it does")
  mutating func unwritable() {
    state.read(100, at: Self.at(1))
    #expect(next(isWritable: false) == "wait")
    #expect(state.requestRead(isWritable: false) == false)
    #expect(state.isReadHeld)
    #expect(state.resume(at: Self.at(2), isWritable: false) == .nothing)
    #expect(state.writabilityChanged(true, bufferedCount: 0, at: Self.at(2)) == .resumeSoon)
    #expect(state.resume(at: Self.at(2), isWritable: true) == .goOn)
    #expect(next() == "frame")
    #expect(state.requestRead(isWritable: true) == true)
    #expect(!state.isReadHeld)
  }

  @Test("up to 64 KiB may wait behind a pending request; beyond that, nothing is read")
  mutating func full() {
    handOnRequest(and: 64 << 10)
    #expect(state.requestRead(isWritable: false) == true)
    state.read(1, at: Self.at(2))
    #expect(state.requestRead(isWritable: true) == false)
    #expect(state.isReadHeld)
  }

  // MARK: Ends

  @Test("the end of the input is passed on immediately if no bytes are pending")
  mutating func inputEnd() {
    #expect(state.inputClosed() == true)
    #expect(state.takeInputEnd() == false)
    handOnRequest()
    #expect(state.inputClosed() == true)
  }

  @Test("an incomplete request at the end of the input goes to the decoder")
  mutating func inputEndAfterHalf() {
    state.read(10, at: Self.at(1))
    #expect(next() == "frame")
    state.framed(.incomplete(atLeast: 11), isGathered: false)
    #expect(state.inputClosed() == false)
    #expect(state.takeInputEnd() == true)
    #expect(state.takeInputEnd() == false)
    #expect(next() == "hand on 10")
    state.read(80, at: Self.at(1))
    #expect(next() == "hand on 80")
  }

  @Test("an incomplete buffered body at the end of the input goes to the decoder")
  mutating func inputEndAfterHalfBody() {
    state.read(90, at: Self.at(1))
    #expect(next() == "frame")
    state.framed(.body(request), isGathered: true)
    #expect(next() == "wait")
    #expect(state.inputClosed() == false)
    #expect(state.takeInputEnd() == true)
    #expect(next() == "hand on 90")
  }

  @Test("the end of the input does not overtake a look-up, a pending request or a blocked one")
  mutating func heldInputEnd() {
    readRequest(and: 10)
    let number = state.beginLookUp()
    #expect(state.inputClosed() == false)
    #expect(state.takeInputEnd() == false)
    #expect(state.endLookUp(number, lookUp, at: Self.at(2)) == .goOn)
    #expect(next(isWritable: false) == "wait")
    #expect(state.takeInputEnd() == false)
    #expect(next() == "answer 100 after a look-up")
    state.declined()
    #expect(next() == "hand on 100")
    #expect(state.takeInputEnd() == false)
    #expect(state.progressed(.answered, at: Self.at(3)) == .resumeSoon)
    #expect(state.takeInputEnd() == false)
    #expect(state.resume(at: Self.at(3), isWritable: true) == .goOn)
    #expect(next() == "frame")
    state.framed(.incomplete(atLeast: 11), isGathered: false)
    #expect(next() == "wait")
    #expect(state.takeInputEnd() == true)
    #expect(next() == "hand on 10")
  }

  @Test("a shutdown is passed on immediately, but not before a request that may be answered here")
  mutating func shutdown() {
    #expect(state.shutDown(at: Self.at(0)) == true)
    #expect(state.takeShutdown() == false)
    #expect(state.checkAt == Self.at(10))
    for isLookedUp in [false, true] {
      state = FastPathState(ConnectionTimeouts(), answers: true, openedAt: Self.at(0))
      readRequest()
      let number = isLookedUp ? state.beginLookUp() : 0
      #expect(state.shutDown(at: Self.at(1)) == false)
      #expect(state.takeShutdown() == false)
      if isLookedUp { #expect(state.endLookUp(number, lookUp, at: Self.at(2)) == .goOn) }
      #expect(state.takeShutdown() == false)
      #expect(state.answered() == 100)
      #expect(state.takeShutdown() == true)
      #expect(state.takeShutdown() == false)
    }
  }

  @Test("a shutdown is passed on while a request that was passed on is pending")
  mutating func shutdownWhileWaiting() {
    handOnRequest(and: 10)
    #expect(state.shutDown(at: Self.at(1)) == true)
    #expect(state.isShuttingDown)
    #expect(!state.isClosing)
    state.closeAfterOutput()
    #expect(state.isClosing)
    #expect(state.requestRead(isWritable: true) == false)
    #expect(state.progressed(.answered, at: Self.at(2)) == .resumeSoon)
    #expect(state.resume(at: Self.at(2), isWritable: true) == .goOn)
    #expect(next() == "wait")
  }

  @Test("everything behind the last request is dropped, however much it is, while the answer is pending")
  mutating func last() {
    state.read(40, at: Self.at(1))
    #expect(next() == "frame")
    state.framed(.notPlain, isGathered: false)
    #expect(next() == "hand on 40")
    #expect(state.progressed(.received, at: Self.at(1)) == .nothing)
    #expect(state.progressed(.last, at: Self.at(1)) == .nothing)
    for _ in 0..<3 {
      #expect(state.requestRead(isWritable: false) == true)
      state.read(1 << 20, at: Self.at(2))
      #expect(next() == "drop \(1 << 20)")
      #expect(next() == "wait")
      #expect(state.pendingCount == 0)
    }
    #expect(state.inputClosed() == true)
    #expect(state.activity(isWritable: true).isAnswering)
    #expect(state.progressed(.answered, at: Self.at(3)) == .nothing)
    #expect(!state.activity(isWritable: true).isAnswering)
  }

  @Test("a request that is refused for its head is the last one, even if its body has not arrived")
  mutating func lastByItsHead() {
    state.read(80, at: Self.at(1))
    #expect(next() == "frame")
    state.framed(.body(request), isGathered: false)
    #expect(next() == "hand on 80")
    #expect(state.progressed(.last, at: Self.at(1)) == .nothing)
    state.read(30, at: Self.at(2))
    #expect(next() == "drop 30")
    #expect(next() == "wait")
  }

  // MARK: The limit of connections

  @Test("a connection that is given up is closed immediately, after its answer, or when its client takes none")
  mutating func givenUp() {
    #expect(state.giveUp(isWritable: true) == .close)
    for isAnswered in [true, false] {
      state = FastPathState(ConnectionTimeouts(), answers: true, openedAt: Self.at(0))
      handOnRequest(and: 100)
      #expect(state.progressed(.received, at: Self.at(2)) == .nothing)
      #expect(state.giveUp(isWritable: true) == .nothing)
      #expect(state.requestRead(isWritable: true) == false)
      if isAnswered {
        #expect(state.progressed(.answered, at: Self.at(3)) == .resumeSoon)
        #expect(state.resume(at: Self.at(3), isWritable: true) == .close)
      } else {
        #expect(state.writabilityChanged(false, bufferedCount: 10, at: Self.at(3)) == .close)
      }
    }
  }

  @Test("a connection that is given up during a look-up is closed once that request is answered")
  mutating func givenUpWhileLookingUp() {
    readRequest()
    let number = state.beginLookUp()
    #expect(state.giveUp(isWritable: true) == .nothing)
    #expect(state.endLookUp(number, lookUp, at: Self.at(2)) == .goOn)
    #expect(next() == "answer 100 after a look-up")
    #expect(state.answered() == 100)
    #expect(state.closeIfGivenUp(true) == .close)
  }

  @Test(
    "activity counts from the last request, and a client that does not take its answer is not being answered")
  mutating func activity() {
    func expect(_ isAnswering: Bool, since seconds: Int64, isWritable: Bool = true) {
      let expected = ConnectionActivity(since: Self.at(seconds).uptimeNanoseconds, isAnswering: isAnswering)
      #expect(state.activity(isWritable: isWritable) == expected)
    }
    expect(false, since: 0)
    state.read(3, at: Self.at(1))
    expect(false, since: 0)
    state.read(97, at: Self.at(2))
    #expect(next() == "frame")
    state.framed(.complete(request), isGathered: false)
    #expect(next() == "answer 100")
    let number = state.beginLookUp()
    expect(true, since: 2)
    expect(false, since: 2, isWritable: false)
    #expect(state.endLookUp(number, lookUp, at: Self.at(4)) == .goOn)
    #expect(next() == "answer 100 after a look-up")
    #expect(state.answered() == 100)
    expect(false, since: 4)
    handOnRequest()
    #expect(state.progressed(.received, at: Self.at(5)) == .nothing)
    expect(true, since: 5)
    #expect(state.progressed(.answered, at: Self.at(6)) == .resumeSoon)
    expect(false, since: 6)
  }

  // MARK: Deadlines

  @Test("there is one scheduled check at a time, which an earlier deadline moves")
  mutating func checks() {
    #expect(state.checkAt == Self.at(75))
    state.read(10, at: Self.at(70))
    #expect(next() == "frame")
    state.framed(.incomplete(atLeast: 11), isGathered: false)
    #expect(state.checkAt == Self.at(75))
    #expect(state.requestRead(isWritable: true) == true)
    #expect(state.check(bufferedCount: 0, at: Self.at(75)) == .nothing)
    #expect(state.checkAt == Self.at(80))
    #expect(state.check(bufferedCount: 0, at: Self.at(80)) == .close)
  }

  @Test("a body that the decoder reads has a deadline, and so have answers that are not taken")
  mutating func slowness() {
    state.read(10, at: Self.at(0))
    #expect(next() == "frame")
    state.framed(.notPlain, isGathered: false)
    #expect(next() == "hand on 10")
    #expect(state.progressed(.begun, at: Self.at(0)) == .nothing)
    #expect(state.requestRead(isWritable: true) == true)
    #expect(state.check(bufferedCount: 0, at: Self.at(29)) == .nothing)
    #expect(state.checkAt == Self.at(30))
    #expect(state.progressed(.received, at: Self.at(29)) == .nothing)
    state.wrote(100)
    #expect(state.writabilityChanged(false, bufferedCount: 100, at: Self.at(30)) == .nothing)
    #expect(state.check(bufferedCount: 100, at: Self.at(89)) == .nothing)
    #expect(state.check(bufferedCount: 100, at: Self.at(90)) == .close)
  }
}
