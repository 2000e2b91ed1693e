import Foundation
import Glibc

/// Memory that is mapped from a file, so that what is stored there survives the process, or anonymous memory where no
/// file can be created.
///
/// If a mapped file is truncated, the next store ends the process (SIGBUS). Permissions prevent this: only this user
/// may enter the folder or write the file. Files of other processes are never mapped (``SpoolDescriptor``).
final class SpoolMemory: Sendable {
  // Safe: the memory is mapped for the lifetime of this object, and its owner says who may write it when.
  nonisolated(unsafe) let base: UnsafeMutableRawPointer
  let byteCount: Int
  /// Nil if the memory is anonymous.
  let path: String?

  private init(_ base: UnsafeMutableRawPointer, byteCount: Int, path: String?) {
    self.base = base
    self.byteCount = byteCount
    self.path = path
  }

  deinit {
    if path == nil { base.deallocate() } else { munmap(base, byteCount) }
  }

  /// Memory that is lost with the process.
  static func anonymous(byteCount: Int) -> SpoolMemory {
    let base = UnsafeMutableRawPointer.allocate(byteCount: byteCount, alignment: 64)
    memset(base, 0, byteCount)
    return SpoolMemory(base, byteCount: byteCount, path: nil)
  }

  /// The memory of a new file at `path`. `writeHead` gets its beginning and its inode.
  static func make(
    at path: String, byteCount: Int, writeHead: (UnsafeMutableRawPointer, UInt64) -> Void
  ) throws(SpoolFailure) -> SpoolMemory {
    let descriptor = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0o600)
    guard descriptor >= 0 else { throw .last("\(path) cannot be created") }
    defer { close(descriptor) }
    do throws(SpoolFailure) {
      // Allocate the blocks now: writing to a mapped page for which the disk has no room would end the process.
      let error = posix_fallocate(descriptor, 0, off_t(byteCount))
      guard error == 0 else { throw SpoolFailure("no room for \(path): \(String(cString: strerror(error)))") }
      var status = stat()
      guard fstat(descriptor, &status) == 0 else { throw .last("fstat") }
      let base = try map(byteCount, descriptor)
      writeHead(base, UInt64(status.st_ino))
      return SpoolMemory(base, byteCount: byteCount, path: path)
    } catch {
      unlink(path)
      throw error
    }
  }

  private static func map(_ byteCount: Int, _ descriptor: Int32) throws(SpoolFailure) -> UnsafeMutableRawPointer {
    guard let base = mmap(nil, byteCount, PROT_READ | PROT_WRITE, MAP_SHARED, descriptor, 0), base != MAP_FAILED else {
      throw .last("\(byteCount) bytes cannot be mapped")
    }
    return base
  }

  /// Writes the file to the disk, so that a power failure loses nothing. Blocks.
  func synchronize() throws(SpoolFailure) {
    guard path != nil else { return }
    guard msync(base, byteCount, MS_SYNC) == 0 else { throw .last("msync") }
  }

  func removeFile() {
    if let path { unlink(path) }
  }
}
