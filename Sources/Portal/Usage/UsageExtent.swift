import Foundation
import Glibc

/// Memory for counters, a ``UsageRegion`` a shard: mapped from a file, so that what was counted outlives the process,
/// or anonymous where no file can be had.
///
/// A mapped file that somebody cuts short ends the process at the next verdict (SIGBUS). What keeps others from it is
/// that nobody but this user may enter the folder or write the file. Files of other processes are never mapped
/// (``UsageFile``).
final class UsageExtent: Sendable {
  /// What cannot be made or read, and why.
  struct Failure: Error, CustomStringConvertible {
    enum Kind: Sendable {
      /// It lies with the file, and will be so the next time.
      case damage
      /// The file is for another version of this program.
      case otherVersion
      /// The system has no more of something.
      case shortage
    }

    private static let shortages: Set<Int32> = [EMFILE, ENFILE, ENOMEM, EAGAIN]

    let description: String
    let kind: Kind

    init(_ description: String, _ kind: Kind = .damage) {
      self.description = description
      self.kind = kind
    }

    /// With the system's reason.
    static func last(_ action: String) -> Failure {
      let number = errno
      return Failure(
        "\(action): \(String(cString: strerror(number)))", shortages.contains(number) ? .shortage : .damage)
    }
  }

  /// What was counted in an extent.
  struct Contents: Sendable, Equatable {
    /// In the same order whoever reads them.
    var counters: [UsageCounter] = []
    /// Counters that were left out.
    var damagedCount = 0
  }

  // Safe: it is mapped as long as this object lives. A shard's region is written under that shard's lock alone, and
  // read when no shard has it any more.
  private nonisolated(unsafe) let base: UnsafeMutableRawPointer
  let layout: UsageLayout
  /// Nil where the memory is anonymous.
  let path: String?

  private init(_ base: UnsafeMutableRawPointer, _ layout: UsageLayout, path: String?) {
    self.base = base
    self.layout = layout
    self.path = path
  }

  deinit {
    if path == nil { base.deallocate() } else { munmap(base, byteCount) }
  }

  // MARK: Making

  /// Of anonymous memory: what is counted there is lost with the process.
  static func anonymous(_ layout: UsageLayout) -> UsageExtent {
    let base = UnsafeMutableRawPointer.allocate(byteCount: layout.byteCount, alignment: 64)
    memset(base, 0, layout.byteCount)
    return UsageExtent(base, layout, path: nil)
  }

  /// In a new file.
  static func make(at path: String, _ layout: UsageLayout) throws(Failure) -> UsageExtent {
    let descriptor = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0o600)
    guard descriptor >= 0 else { throw .last("\(path) cannot be made") }
    defer { close(descriptor) }
    do throws(Failure) {
      // With its blocks: a page of a mapped file that finds no room on the disk would end the process.
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

  /// All of its counters. Nobody may be counting.
  func read() -> Contents {
    var contents = Contents()
    contents.counters.reserveCapacity(takenCount)
    for shard in 0..<UsageLayout.shardCount { contents.read(region(shard)) }
    return contents
  }

  /// Counters in it; an estimate while somebody counts.
  var takenCount: Int { (0..<UsageLayout.shardCount).reduce(0) { $0 + region($1).takenCount } }

  var fileByteCount: Int { path == nil ? 0 : byteCount }

  /// Writes it to the disk, for the case that the power goes. Blocks.
  func synchronize() throws(Failure) {
    guard path != nil else { return }
    guard msync(base, byteCount, MS_SYNC) == 0 else { throw .last("msync") }
  }

  func removeFile() {
    if let path { unlink(path) }
  }
}

extension UsageExtent.Contents {
  /// Adds what stands in a region.
  mutating func read(_ region: UsageRegion) {
    damagedCount += region.read { counters.append($0) }
  }
}
