import NIOCore
import Portal
import Testing

@testable import PortalAPI
@testable import PortalHTTP

extension FastPathState.Step {
  /// In few words, since requests cannot be compared with what was looked up for them.
  fileprivate var words: String {
    switch self {
    case .wait: "wait"
    case .frame: "frame"
    case .answer(let request, let lookUp): "answer \(request.byteCount)\(lookUp == nil ? "" : " after a look-up")"
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

  private mutating func next(isWritable: Bool = true) -> String { state.next(isWritable: isWritable).words }

  /// Has a whole request come, and whatever is behind it.
  private mutating func readRequest(and more: Int = 0) {
    state.read(request.byteCount + more, at: Self.at(1))
    #expect(next() == "frame")
    state.framed(.complete(request), isGathered: false)
    #expect(next() == "answer 100")
  }

  /// Has a request handed on whole, and whatever is behind it wait.
  private mutating func handOnRequest(and more: Int = 0) {
    readRequest(and: more)
    state.declined()
    #expect(next() == "hand on 100")
    #expect(next() == "wait")
  }

  // MARK: Bytes

  @Test("requests that came together are answered one after the other, and then bytes are waited for")
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

  @Test("half a head is looked at again when there is more of it, and no sooner")
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

  @Test("a body that is gathered has its head framed once")
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

  @Test("a body that is not gathered is handed on as it comes, and what follows waits until it is whole and answered")
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

  @Test("what is not plain is handed on with all that follows")
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
    #expect(none.next(isWritable: true).words == "hand on 5")
  }

  @Test(
    "a request that was declined goes alone; what follows waits for its answer, which may be written within a write")
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

  @Test("after a look-up the request is answered without being framed again, and no other look-up has an effect")
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

  @Test("a request whose look-up came to nothing is handed on alone")
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

  @Test("a client that takes nothing while keys are looked up has its answer when it does, with what was found")
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

  @Test("while the client takes no answers, nothing is looked at or read, and what is held goes on when it does")
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

  @Test("behind a request that is waited for, 64 KiB may wait, and then no more is read")
  mutating func full() {
    handOnRequest(and: 64 << 10)
    #expect(state.requestRead(isWritable: false) == true)
    state.read(1, at: Self.at(2))
    #expect(state.requestRead(isWritable: true) == false)
    #expect(state.isReadHeld)
  }

  // MARK: Ends

  @Test("the end of the input is told at once if nothing has come before it that was not handed on")
  mutating func inputEnd() {
    #expect(state.inputClosed() == true)
    #expect(state.takeInputEnd() == false)
    handOnRequest()
    #expect(state.inputClosed() == true)
  }

  @Test("half a request at the end of the input is the decoder's")
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

  @Test("half a body that is gathered is so, too")
  mutating func inputEndAfterHalfBody() {
    state.read(90, at: Self.at(1))
    #expect(next() == "frame")
    state.framed(.body(request), isGathered: true)
    #expect(next() == "wait")
    #expect(state.inputClosed() == false)
    #expect(state.takeInputEnd() == true)
    #expect(next() == "hand on 90")
  }

  @Test("the end of the input overtakes neither a look-up, nor a request that is waited for, nor one that is blocked")
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

  @Test("the end of the server is told at once, but not before a request that may be answered here")
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

  @Test("the decoder's side knows of a request that was handed on, and is told of the end of the server meanwhile")
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

  @Test("what comes behind the last request is dropped, however much, and the answer is waited for")
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

  @Test("a request that is refused by its head is the last one, though its body has not come")
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

  @Test("a connection that is given up is closed at once, or after its answer, or when its client takes none")
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

  @Test("a connection that is given up while keys are looked up is closed when that request is answered")
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
    "what a connection does counts from its last request, and whoever does not take the answer is not being answered")
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

  @Test("one check stands at any time, and moves for what ends before it")
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

  @Test("a body that the decoder finds has its time, and answers that are not taken have theirs")
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
