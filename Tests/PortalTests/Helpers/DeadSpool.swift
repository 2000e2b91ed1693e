import Foundation
import Testing

@testable import Portal

/// The spool of a dead process: three files of a recorder, with thirty counters each.
struct DeadSpool {
  static let fileNumbers = 1...3
  static let counterCount = 30

  /// The folder with the folders of all processes.
  let root: String
  let sourceID: UUID
  /// Contents by file number.
  let contents: [Int: UsageExtent.Contents]

  init(in root: String) throws {
    self.root = root
    let recorder = UsageRecorder(spoolFolder: root)
    var contents: [Int: UsageExtent.Contents] = [:]
    for number in Self.fileNumbers {
      for key in 0..<Self.counterCount { recorder.countOne(key, "GET /a\(number)/b\(key % 3)") }
      for extent in recorder.seal() { contents[extent.number] = extent.read() }
    }
    sourceID = recorder.sourceID
    // Closes the file for the next counters.
    recorder.close()
    self.contents = contents
    #expect(Array(contents.keys).sorted() == Array(Self.fileNumbers))
    #expect(contents.values.allSatisfy { $0.counters.count == Self.counterCount && $0.damagedCount == 0 })
  }

  var folder: String { root + "/" + sourceID.text }

  func path(_ number: Int) -> String { path("\(number)") }

  func path(_ name: String) -> String { "\(folder)/\(name).counters" }

  /// The files that a server adopts when it starts with the spool.
  func adopt() throws -> UsageSpool.Orphan {
    let spool = try UsageSpool(root: root)
    defer { spool.close() }
    return try #require(spool.adopt().first)
  }

  /// The files in the folder, except the lock.
  var fileNames: [String] {
    ((try? FileManager.default.contentsOfDirectory(atPath: folder)) ?? []).filter { $0 != "lock" }.sorted()
  }
}

/// Changes bytes of a file in place.
func overwrite(_ path: String, at offset: Int, _ bytes: [UInt8]) throws {
  let handle = try FileHandle(forUpdating: URL(filePath: path))
  try handle.seek(toOffset: UInt64(offset))
  try handle.write(contentsOf: bytes)
  try handle.close()
}
