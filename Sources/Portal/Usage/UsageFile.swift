import Foundation
import Glibc

/// A counter file that another process left behind, with the layout that was read when the file was found.
///
/// It is read into memory one region at a time and never mapped, because another process that shares the folder may
/// truncate it at any moment.
struct UsageFile: Sendable {
  /// Appended to the name of a file that cannot be used, such as a damaged one or a copy. It is not looked at again.
  private static let asideSuffix = ".aside"

  let path: String
  let layout: UsageLayout

  /// Nil if nothing was ever counted in the file. Throws if it is damaged or a copy, because the original may be in use
  /// or already counted elsewhere. `sourceID` and `number` are those in the names of the folder and the file. Blocks.
  init?(at path: String, sourceID: UUID, number: Int) throws(UsageExtent.Failure) {
    let descriptor = try Descriptor(path)
    guard let layout = try descriptor.judge(sourceID: sourceID, number: number) else { return nil }
    self.path = path
    self.layout = layout
  }

  /// Reads all counters. Throws if the file has changed since it was found. Blocks.
  func read() throws(UsageExtent.Failure) -> UsageExtent.Contents {
    let descriptor = try Descriptor(path)
    guard try descriptor.judge(sourceID: layout.sourceID, number: layout.number) == layout else {
      throw UsageExtent.Failure("\(path) has changed since it was found")
    }
    let buffer = UnsafeMutableRawBufferPointer.allocate(byteCount: layout.regionByteCount, alignment: 64)
    defer { buffer.deallocate() }
    var contents = UsageExtent.Contents()
    guard let base = buffer.baseAddress else { return contents }
    for shard in 0..<UsageLayout.shardCount {
      guard try descriptor.read(layout.regionOffset(shard), into: buffer) == buffer.count else {
        throw UsageExtent.Failure("\(path) has been truncated since it was found")
      }
      contents.read(UsageRegion(at: base, slotCount: layout.slotsPerShard, seed: layout.seed))
    }
    return contents
  }

  func remove() { unlink(path) }

  func setAside() { Self.setAside(path) }

  static func setAside(_ path: String) { rename(path, path + asideSuffix) }

  /// Whether a file's name says that it was set aside.
  static func isAside(_ name: String) -> Bool { name.hasSuffix(asideSuffix) }
}

/// A regular file that is open for reading.
private struct Descriptor: ~Copyable {
  private static let chunkByteCount = 64 << 10

  private let path: String
  private let number: Int32
  private let status: stat

  /// Does not block, which opening a FIFO would, and follows no link.
  init(_ path: String) throws(UsageExtent.Failure) {
    let number = open(path, O_RDONLY | O_NONBLOCK | O_NOFOLLOW | O_NOCTTY | O_CLOEXEC)
    guard number >= 0 else { throw .last("\(path) cannot be opened") }
    var status = stat()
    guard fstat(number, &status) == 0, status.st_mode & S_IFMT == S_IFREG else {
      close(number)
      throw UsageExtent.Failure("\(path) is not a regular file")
    }
    self.path = path
    self.number = number
    self.status = status
  }

  deinit { close(number) }

  /// Checks the first page; nil if nothing was ever counted in the file.
  func judge(sourceID: UUID, number: Int) throws(UsageExtent.Failure) -> UsageLayout? {
    let page = UnsafeMutableRawBufferPointer.allocate(byteCount: UsageLayout.headByteCount, alignment: 64)
    defer { page.deallocate() }
    let count = try read(0, into: page)
    let judgement = UsageLayout.judge(
      UnsafeRawBufferPointer(rebasing: page[..<count]), byteCount: Int(status.st_size),
      inode: UInt64(status.st_ino), sourceID: sourceID, number: number)
    switch judgement {
    case .good(let layout): return layout
    case .unfinished:
      guard try isZero(from: UsageLayout.headByteCount) else {
        throw UsageExtent.Failure("\(path) has counters but no header")
      }
      return nil
    case .otherVersion: throw UsageExtent.Failure("\(path) was written by another version", .otherVersion)
    case .damaged(let reason): throw UsageExtent.Failure("\(path) \(reason)")
    }
  }

  /// Whether all bytes from `offset` on are zero.
  private func isZero(from offset: Int) throws(UsageExtent.Failure) -> Bool {
    let buffer = UnsafeMutableRawBufferPointer.allocate(byteCount: Self.chunkByteCount, alignment: 64)
    defer { buffer.deallocate() }
    var offset = offset
    while offset < Int(status.st_size), case let count = try read(offset, into: buffer), count > 0 {
      guard !buffer[..<count].contains(where: { $0 != 0 }) else { return false }
      offset += count
    }
    return true
  }

  /// Fills the buffer from `offset`; returns how many bytes were read, fewer at the end of the file.
  func read(_ offset: Int, into buffer: UnsafeMutableRawBufferPointer) throws(UsageExtent.Failure) -> Int {
    guard let base = buffer.baseAddress else { return 0 }
    var count = 0
    while count < buffer.count {
      let result = pread(number, base + count, buffer.count - count, off_t(offset + count))
      if result == 0 { break }
      if result > 0 {
        count += result
      } else if errno != EINTR {
        throw .last("\(path) cannot be read")
      }
    }
    return count
  }
}
