import Foundation
import Glibc

/// A counter file that another process left behind, with the layout that was read when the file was found.
///
/// It is read into memory one region at a time and never mapped, because another process that shares the folder may
/// truncate it at any moment.
struct UsageFile: Sendable {
  let path: String
  let layout: UsageLayout

  /// Nil if nothing was ever counted in the file. Throws if it is damaged or a copy, because the original may be in use
  /// or already counted elsewhere. `sourceID` and `number` are those in the names of the folder and the file. Blocks.
  init?(at path: String, sourceID: UUID, number: Int) throws(SpoolFailure) {
    let descriptor = try SpoolDescriptor(path)
    guard let layout = try Self.judge(descriptor, sourceID: sourceID, number: number) else { return nil }
    self.path = path
    self.layout = layout
  }

  private static func judge(
    _ descriptor: borrowing SpoolDescriptor, sourceID: UUID, number: Int
  ) throws(SpoolFailure) -> UsageLayout? {
    try descriptor.judge(UsageLayout.kind, sourceID: sourceID, fileNumber: number).map { head, magic in
      UsageLayout(head, magic: magic)
    }
  }

  /// Reads all counters. Throws if the file has changed since it was found. Blocks.
  func read() throws(SpoolFailure) -> UsageExtent.Contents {
    let descriptor = try SpoolDescriptor(path)
    guard try Self.judge(descriptor, sourceID: layout.sourceID, number: layout.number) == layout else {
      throw SpoolFailure("\(path) has changed since it was found")
    }
    let buffer = UnsafeMutableRawBufferPointer.allocate(byteCount: layout.regionByteCount, alignment: 64)
    defer { buffer.deallocate() }
    var contents = UsageExtent.Contents()
    guard let base = buffer.baseAddress else { return contents }
    for shard in 0..<UsageLayout.shardCount {
      guard try descriptor.read(layout.regionOffset(shard), into: buffer) == buffer.count else {
        throw SpoolFailure("\(path) has been truncated since it was found")
      }
      contents.read(UsageRegion(at: base, slotCount: layout.slotsPerShard, seed: layout.seed))
    }
    return contents
  }

  func remove() { unlink(path) }

  func setAside() { SpoolFolder.setAside(path) }
}
