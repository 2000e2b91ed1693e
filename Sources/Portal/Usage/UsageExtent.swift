import Foundation
import Glibc
import Synchronization

/// Memory for counters, a ``UsageRegion`` a shard: mapped from a file, so that what was counted outlives the process, or
/// anonymous where no file can be had.
final class UsageExtent: Sendable {
  /// What cannot be made, and why.
  struct Failure: Error, CustomStringConvertible {
    let description: String

    init(_ description: String) { self.description = description }

    /// With the system's reason.
    static func last(_ action: String) -> Failure { Failure("\(action): \(String(cString: strerror(errno)))") }
  }

  static let shardCount = 16
  static let slotsPerShardMin = 64
  /// A million slots: 100 MB.
  static let slotsPerShardMax = 1 << 16

  /// The first page of the memory.
  private enum Head {
    static let magic = 0
    static let slotsPerShard = 8
    static let seed = 16
    static let sourceID = 24
    static let number = 40
    static let inode = 48
    static let byteCount = 4_096
  }

  private static let magic: UInt64 = 0x3130_4543_4153_554C

  // Safe: it is mapped as long as this object lives. A shard's region is written under that shard's lock alone, and read
  // when no shard has it any more.
  private nonisolated(unsafe) let base: UnsafeMutableRawPointer
  let byteCount: Int
  let slotsPerShard: Int
  private let seed: UInt64
  let sourceID: UUID
  /// Extents of a source are written to the database in this order.
  let number: Int
  /// Nil where the memory is anonymous.
  let path: String?

  private init(_ base: UnsafeMutableRawPointer, byteCount: Int, path: String?) {
    self.base = base
    self.byteCount = byteCount
    self.path = path
    slotsPerShard = Int(base.load(fromByteOffset: Head.slotsPerShard, as: UInt64.self))
    seed = base.load(fromByteOffset: Head.seed, as: UInt64.self)
    sourceID = UUID(uuid: base.loadUnaligned(fromByteOffset: Head.sourceID, as: uuid_t.self))
    number = Int(base.load(fromByteOffset: Head.number, as: UInt64.self))
  }

  deinit {
    if path == nil { base.deallocate() } else { munmap(base, byteCount) }
  }

  // MARK: Making

  /// Of anonymous memory: what is counted there is lost with the process.
  static func anonymous(_ sourceID: UUID, number: Int, slotsPerShard: Int) -> UsageExtent {
    let byteCount = byteCount(slotsPerShard)
    let base = UnsafeMutableRawPointer.allocate(byteCount: byteCount, alignment: 64)
    memset(base, 0, byteCount)
    writeHead(base, sourceID, number, slotsPerShard, inode: 0)
    return UsageExtent(base, byteCount: byteCount, path: nil)
  }

  /// In a new file.
  static func make(
    at path: String, _ sourceID: UUID, number: Int, slotsPerShard: Int
  ) throws(Failure) -> UsageExtent {
    let descriptor = Glibc.open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0o600)
    guard descriptor >= 0 else { throw .last("\(path) cannot be made") }
    defer { close(descriptor) }
    do throws(Failure) {
      let byteCount = byteCount(slotsPerShard)
      // With its blocks: a page of a mapped file that finds no room on the disk would end the process.
      let error = posix_fallocate(descriptor, 0, off_t(byteCount))
      guard error == 0 else { throw Failure("no room for \(path): \(String(cString: strerror(error)))") }
      let base = try map(byteCount, descriptor)
      writeHead(base, sourceID, number, slotsPerShard, inode: try inode(descriptor))
      return UsageExtent(base, byteCount: byteCount, path: path)
    } catch {
      unlink(path)
      throw error
    }
  }

  /// One that another process left; nil if nothing was ever counted in it. Throws where the file is damaged, or is a copy:
  /// the original may be counted, or be counted in, elsewhere.
  static func open(leftAt path: String) throws(Failure) -> UsageExtent? {
    let descriptor = Glibc.open(path, O_RDWR | O_CLOEXEC)
    guard descriptor >= 0 else { throw .last("\(path) cannot be opened") }
    defer { close(descriptor) }
    let size = Int(lseek(descriptor, 0, SEEK_END))
    guard size >= Head.byteCount else { return nil }
    let base = try map(size, descriptor)
    let extent = UsageExtent(base, byteCount: size, path: path)
    if base.load(fromByteOffset: Head.magic, as: UInt64.self) == 0 { return nil }
    guard base.load(fromByteOffset: Head.magic, as: UInt64.self) == magic,
      (slotsPerShardMin...slotsPerShardMax).contains(extent.slotsPerShard),
      extent.slotsPerShard.nonzeroBitCount == 1, size == byteCount(extent.slotsPerShard)
    else { throw Failure("\(path) is damaged") }
    guard base.load(fromByteOffset: Head.inode, as: UInt64.self) == (try inode(descriptor)) else {
      throw Failure("\(path) is a copy")
    }
    return extent
  }

  static func byteCount(_ slotsPerShard: Int) -> Int {
    Head.byteCount + shardCount * UsageRegion.byteCount(slotCount: slotsPerShard)
  }

  private static func map(_ byteCount: Int, _ descriptor: Int32) throws(Failure) -> UnsafeMutableRawPointer {
    guard let base = mmap(nil, byteCount, PROT_READ | PROT_WRITE, MAP_SHARED, descriptor, 0), base != MAP_FAILED else {
      throw .last("\(byteCount) bytes cannot be mapped")
    }
    return base
  }

  private static func inode(_ descriptor: Int32) throws(Failure) -> UInt64 {
    var status = stat()
    guard fstat(descriptor, &status) == 0 else { throw .last("fstat") }
    return UInt64(status.st_ino)
  }

  /// The magic last: without it a file is not counted.
  private static func writeHead(
    _ base: UnsafeMutableRawPointer, _ sourceID: UUID, _ number: Int, _ slotsPerShard: Int, inode: UInt64
  ) {
    base.storeBytes(of: UInt64(slotsPerShard), toByteOffset: Head.slotsPerShard, as: UInt64.self)
    base.storeBytes(of: .random(in: 1...(.max)), toByteOffset: Head.seed, as: UInt64.self)
    base.storeBytes(of: sourceID.uuid, toByteOffset: Head.sourceID, as: uuid_t.self)
    base.storeBytes(of: UInt64(number), toByteOffset: Head.number, as: UInt64.self)
    base.storeBytes(of: inode, toByteOffset: Head.inode, as: UInt64.self)
    (base + Head.magic).assumingMemoryBound(to: Atomic<UInt64>.self).pointee.store(magic, ordering: .releasing)
  }

  // MARK: Use

  func region(_ shard: Int) -> UsageRegion {
    UsageRegion(
      at: base + Head.byteCount + shard * UsageRegion.byteCount(slotCount: slotsPerShard), slotCount: slotsPerShard,
      seed: seed)
  }

  /// All of its counters, in the same order whoever reads them, and how many are damaged. Nobody may be counting.
  func read() -> (counters: [UsageCounter], damagedCount: Int) {
    var counters: [UsageCounter] = []
    counters.reserveCapacity(takenCount)
    var damagedCount = 0
    for shard in 0..<Self.shardCount { damagedCount += region(shard).read { counters.append($0) } }
    return (counters, damagedCount)
  }

  /// Counters in it; an estimate while somebody counts.
  var takenCount: Int { (0..<Self.shardCount).reduce(0) { $0 + region($1).takenCount } }

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
