import Foundation
import Glibc

/// Memory for counters, with one ``UsageRegion`` per shard: mapped from a file, so that counts survive the process, or
/// anonymous where no file can be created.
///
/// If a mapped file is truncated, the next verdict ends the process (SIGBUS). Permissions prevent this: only this user
/// may enter the folder or write the file. Files of other processes are never mapped (``UsageFile``).
final class UsageExtent: Sendable {
  /// An extent that cannot be created or read, and the reason.
  struct Failure: Error, CustomStringConvertible {
    enum Kind: Sendable {
      /// The file itself is bad; trying again does not help.
      case damage
      /// The file was written by another version of this program.
      case otherVersion
      /// The system has run out of a resource.
      case shortage
    }

    private static let shortages: Set<Int32> = [EMFILE, ENFILE, ENOMEM, EAGAIN]

    let description: String
    let kind: Kind

    init(_ description: String, _ kind: Kind = .damage) {
      self.description = description
      self.kind = kind
    }

    /// The failure of `action` with the system's reason, from `errno`.
    static func last(_ action: String) -> Failure {
      let number = errno
      return Failure(
        "\(action): \(String(cString: strerror(number)))", shortages.contains(number) ? .shortage : .damage)
    }
  }

  /// The counters of an extent.
  struct Contents: Sendable, Equatable {
    /// The order is the same for every reader.
    var counters: [UsageCounter] = []
    /// The number of damaged counters, which are left out.
    var damagedCount = 0
  }

  // Safe: the memory is mapped for the lifetime of this object. A shard's region is written only under that shard's
  // lock, and read once no shard uses it any more.
  private nonisolated(unsafe) let base: UnsafeMutableRawPointer
  let layout: UsageLayout
  /// Nil if the memory is anonymous.
  let path: String?

  private init(_ base: UnsafeMutableRawPointer, _ layout: UsageLayout, path: String?) {
    self.base = base
    self.layout = layout
    self.path = path
  }

  deinit {
    if path == nil { base.deallocate() } else { munmap(base, byteCount) }
  }

  // MARK: Creation

  /// An extent in anonymous memory: its counts are lost with the process.
  static func anonymous(_ layout: UsageLayout) -> UsageExtent {
    let base = UnsafeMutableRawPointer.allocate(byteCount: layout.byteCount, alignment: 64)
    memset(base, 0, layout.byteCount)
    return UsageExtent(base, layout, path: nil)
  }

  /// An extent in a new file at `path`.
  static func make(at path: String, _ layout: UsageLayout) throws(Failure) -> UsageExtent {
    let descriptor = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0o600)
    guard descriptor >= 0 else { throw .last("\(path) cannot be created") }
    defer { close(descriptor) }
    do throws(Failure) {
      // Allocate the blocks now: writing to a mapped page for which the disk has no room would end the process.
      let error = posix_fallocate(descriptor, 0, off_t(layout.byteCount))
      guard error == 0 else { throw Failure("no room for \(path): \(String(cString: strerror(error)))") }
      var status = stat()
      guard fstat(descriptor, &status) == 0 else { throw .last("fstat") }
      let base = try map(layout.byteCount, descriptor)
      layout.write(to: base, inode: UInt64(status.st_ino))
      return UsageExtent(base, layout, path: path)
    } catch {
      unlink(path)
      throw error
    }
  }

  private static func map(_ byteCount: Int, _ descriptor: Int32) throws(Failure) -> UnsafeMutableRawPointer {
    guard let base = mmap(nil, byteCount, PROT_READ | PROT_WRITE, MAP_SHARED, descriptor, 0), base != MAP_FAILED else {
      throw .last("\(byteCount) bytes cannot be mapped")
    }
    return base
  }

  // MARK: Use

  var sourceID: UUID { layout.sourceID }
  var number: Int { layout.number }
  var slotsPerShard: Int { layout.slotsPerShard }
  var byteCount: Int { layout.byteCount }

  func region(_ shard: Int) -> UsageRegion {
    UsageRegion(at: base + layout.regionOffset(shard), slotCount: layout.slotsPerShard, seed: layout.seed)
  }

  /// Reads all counters. Nothing may be counted meanwhile.
  func read() -> Contents {
    var contents = Contents()
    contents.counters.reserveCapacity(takenCount)
    for shard in 0..<UsageLayout.shardCount { contents.read(region(shard)) }
    return contents
  }

  /// The number of counters; an estimate while counting goes on.
  var takenCount: Int { (0..<UsageLayout.shardCount).reduce(0) { $0 + region($1).takenCount } }

  var fileByteCount: Int { path == nil ? 0 : byteCount }

  /// Writes the file to the disk, so that a power failure loses nothing. Blocks.
  func synchronize() throws(Failure) {
    guard path != nil else { return }
    guard msync(base, byteCount, MS_SYNC) == 0 else { throw .last("msync") }
  }

  func removeFile() {
    if let path { unlink(path) }
  }
}

extension UsageExtent.Contents {
  /// Adds the counters of a region.
  mutating func read(_ region: UsageRegion) {
    damagedCount += region.read { counters.append($0) }
  }
}
