import Foundation
import Glibc

/// The problem of a case, and where the case is stored.
package struct FuzzFailure: Error, CustomStringConvertible {
  package let description: String
}

/// Tries cases of one kind of input: first the files of `Tests/Corpus/<kind>`, then as many generated cases as
/// requested, each from a seed. The current case is written to a file before it is tried, and stays there if it fails
/// or ends the process.
///
/// `make test` tries the same cases in every run, so that only a change makes it fail. `make soak` tries fifty times as
/// many, different ones each time. `FUZZ_SEED` repeats those of a seed.
package struct Fuzzing: Sendable {
  private static let seedDefault: UInt64 = 1
  private static let soakFactor = 50

  package let kind: String
  package let seed: UInt64
  /// The file of the current case.
  package let path: String
  /// The files of the corpus, by name.
  package let corpus: [(name: String, bytes: [UInt8])]

  /// `test` distinguishes tests of the same kind. Throws if there is no corpus.
  package init(_ kind: String, test: String = #function) throws {
    self.kind = kind
    let environment = ProcessInfo.processInfo.environment
    if let text = environment["FUZZ_SEED"] {
      guard let given = UInt64(text) else { throw TestSetupError(description: "FUZZ_SEED is not a number: \(text)") }
      seed = given
    } else {
      seed = isSoak ? .random(in: 0...(.max)) : Self.seedDefault
    }
    let folder = repositoryRoot + "/.local/fuzz"
    try FileManager.default.createDirectory(atPath: folder, withIntermediateDirectories: true)
    path = "\(folder)/\(kind)-\(test.prefix { $0 != "(" })-\(getpid())"
    let source = "\(repositoryRoot)/Tests/Corpus/\(kind)"
    let names = try FileManager.default.contentsOfDirectory(atPath: source).filter { !$0.hasPrefix(".") }.sorted()
    corpus = try names.map { ($0, [UInt8](try Data(contentsOf: URL(filePath: "\(source)/\($0)")))) }
    guard !corpus.isEmpty else { throw TestSetupError(description: "\(source) has no files") }
    print("fuzz: \(kind), FUZZ_SEED=\(seed), the current case is in \(path)")
  }

  /// The number of generated cases, if an ordinary run has `ordinary`.
  package static func count(_ ordinary: Int) -> Int { isSoak ? ordinary * soakFactor : ordinary }

  /// Tries the corpus, and then generated cases, ``count(_:)`` of `ordinaryCount`.
  ///
  /// `make` gets a separate generator for each case, so that a case depends on nothing before it. `problem` returns
  /// what is wrong with a case, nil if nothing is; the first case with a problem ends the run.
  package func run(
    _ ordinaryCount: Int, make: (inout SeededGenerator) throws -> [UInt8],
    problem: (_ bytes: [UInt8], _ random: inout SeededGenerator) async throws -> String?
  ) async throws {
    try await run(corpus: true, 0..<Self.count(ordinaryCount), make: make, problem: problem)
  }

  /// A part of a run: the corpus, if requested, and then the cases of these numbers.
  package func run(
    corpus includesCorpus: Bool, _ numbers: Range<Int>, make: (inout SeededGenerator) throws -> [UInt8],
    problem: (_ bytes: [UInt8], _ random: inout SeededGenerator) async throws -> String?
  ) async throws {
    let file = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0o600)
    guard file >= 0 else { throw TestSetupError(description: "\(path) cannot be written") }
    defer { close(file) }
    for (name, bytes) in includesCorpus ? corpus : [] {
      var random = SeededGenerator(seed: seed)
      try await attempt(bytes, "\(kind)/\(name) of the corpus", file, &random, problem)
    }
    for number in numbers {
      var random = SeededGenerator(seed: seed &+ UInt64(number))
      let bytes = try make(&random)
      try await attempt(bytes, "case \(number) of FUZZ_SEED=\(seed)", file, &random, problem)
    }
    unlink(path)
  }

  private func attempt(
    _ bytes: [UInt8], _ name: String, _ file: Int32, _ random: inout SeededGenerator,
    _ problem: ([UInt8], inout SeededGenerator) async throws -> String?
  ) async throws {
    guard ftruncate(file, 0) == 0, pwrite(file, bytes, bytes.count, 0) == bytes.count else {
      throw TestSetupError(description: "\(path) cannot be written")
    }
    let found: String?
    do { found = try await problem(bytes, &random) } catch { found = "\(error)" }
    guard let found else { return }
    throw FuzzFailure(
      description: "\(name): \(found). It is in \(path), and becomes a test as a file of Tests/Corpus/\(kind).")
  }
}

extension SeededGenerator {
  /// Bytes that parsers treat specially.
  private static let interestingBytes: [UInt8] =
    Array("\u{0}\t\n\r \"#%&'+,-./0179:;<=>?AZ[\\]_az{|}~\u{7F}".utf8) + [0x80, 0xBF, 0xC0, 0xC3, 0xED, 0xF4, 0xFF]
  /// The maximum number of bytes that are moved or removed together.
  private static let pieceLengthMax = 40
  private static let mutationCountMax = 4

  /// A random element of a collection that is not empty.
  package mutating func pick<Element>(_ choices: [Element]) -> Element {
    choices[Int.random(in: 0..<choices.count, using: &self)]
  }

  package mutating func oneIn(_ count: Int) -> Bool { Int.random(in: 0..<count, using: &self) == 0 }

  /// Bytes with one to four mutations: bytes flipped, set, cut, removed, inserted, repeated or copied from elsewhere.
  /// `tokens` are parts of the input's grammar, `others` are the sources of pieces.
  package mutating func mutated(_ original: [UInt8], tokens: [String], others: [[UInt8]] = []) -> [UInt8] {
    var bytes = original
    for _ in 0..<Int.random(in: 1...Self.mutationCountMax, using: &self) {
      mutate(&bytes, tokens, others)
    }
    return bytes
  }

  private mutating func mutate(_ bytes: inout [UInt8], _ tokens: [String], _ others: [[UInt8]]) {
    let place = Int.random(in: 0...bytes.count, using: &self)
    switch Int.random(in: 0..<16, using: &self) {
    case 0, 1: if place < bytes.count { bytes[place] ^= 1 << UInt8.random(in: 0..<8, using: &self) }
    case 2, 3: if place < bytes.count { bytes[place] = byte() }
    case 4, 5: bytes.insert(byte(), at: place)
    case 6: bytes.removeSubrange(place...)
    case 7, 8, 9: bytes.removeSubrange(piece(of: bytes, from: place))
    case 10, 11: bytes.insert(contentsOf: Array(bytes[piece(of: bytes, from: place)]), at: place)
    case 12: bytes.replaceSubrange(piece(of: bytes, from: place), with: Array(token(tokens)))
    case 13, 14: bytes.insert(contentsOf: Array(token(tokens)), at: place)
    default:
      let other = others.isEmpty ? bytes : pick(others)
      let start = Int.random(in: 0...other.count, using: &self)
      bytes.insert(contentsOf: Array(other[piece(of: other, from: start)]), at: place)
    }
  }

  private mutating func byte() -> UInt8 {
    oneIn(4) ? UInt8.random(in: 0...(.max), using: &self) : pick(Self.interestingBytes)
  }

  private mutating func token(_ tokens: [String]) -> String.UTF8View { (tokens.isEmpty ? "" : pick(tokens)).utf8 }

  /// Usually a short one.
  private mutating func piece(of bytes: [UInt8], from place: Int) -> Range<Int> {
    let length = Int.random(in: 1...(oneIn(2) ? 3 : Self.pieceLengthMax), using: &self)
    return place..<min(place + length, bytes.count)
  }
}
