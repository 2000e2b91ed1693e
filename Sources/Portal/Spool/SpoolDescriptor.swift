import Foundation
import Glibc

/// A regular file that another process left behind, open for reading.
///
/// It is read into memory one part at a time and never mapped, because another process that shares the folder may
/// truncate it at any moment. All operations block.
struct SpoolDescriptor: ~Copyable {
  private static let chunkByteCount = 64 << 10

  private let path: String
  private let number: Int32
  private let status: stat

  /// Does not block, which opening a FIFO would, and follows no link.
  init(_ path: String) throws(SpoolFailure) {
    let number = open(path, O_RDONLY | O_NONBLOCK | O_NOFOLLOW | O_NOCTTY | O_CLOEXEC)
    guard number >= 0 else { throw .last("\(path) cannot be opened") }
    var status = stat()
    guard fstat(number, &status) == 0, status.st_mode & S_IFMT == S_IFREG else {
      close(number)
      throw SpoolFailure("\(path) is not a regular file")
    }
    self.path = path
    self.number = number
    self.status = status
  }

  deinit { close(number) }

  /// Checks the first page; nil if nothing was ever stored in the file. `sourceID` and `fileNumber` are those in the
  /// names of the folder and the file. Throws if the file is damaged or a copy, because the original may be in use or
  /// already taken elsewhere.
  func judge(
    _ kind: SpoolHead.Kind, sourceID: UUID, fileNumber: Int
  ) throws(SpoolFailure) -> (head: SpoolHead, magic: UInt64)? {
    let page = UnsafeMutableRawBufferPointer.allocate(byteCount: SpoolHead.byteCount, alignment: 64)
    defer { page.deallocate() }
    let count = try read(0, into: page)
    let judgement = SpoolHead.judge(
      UnsafeRawBufferPointer(rebasing: page[..<count]), kind, byteCount: Int(status.st_size),
      inode: UInt64(status.st_ino), sourceID: sourceID, number: fileNumber)
    switch judgement {
    case .good(let head, let magic): return (head, magic)
    case .unfinished:
      guard try isZero(from: SpoolHead.byteCount) else {
        throw SpoolFailure("\(path) has contents but no header")
      }
      return nil
    case .otherVersion: throw SpoolFailure("\(path) was written by another version", .otherVersion)
    case .damaged(let reason): throw SpoolFailure("\(path) \(reason)")
    }
  }

  /// Whether all bytes from `offset` on are zero.
  private func isZero(from offset: Int) throws(SpoolFailure) -> Bool {
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
  func read(_ offset: Int, into buffer: UnsafeMutableRawBufferPointer) throws(SpoolFailure) -> Int {
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
