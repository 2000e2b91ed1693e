/// An index from hashes to places in an array: open addressing with linear probing, and removal that moves the
/// following cells back, so that no marks of removed cells pile up (Knuth, The Art of Computer Programming, volume 3,
/// 6.4, algorithm R). The array holds the keys; the index holds only 32 bits of each hash, and the place.
struct HashIndex: Sendable {
  private struct Cell {
    var hash: UInt32
    var place: Int32

    static let empty = Cell(hash: 0, place: -1)
    var isEmpty: Bool { place < 0 }
  }

  private static let cellCountMin = 8

  /// Their number is a power of two.
  private var cells = ContiguousArray(repeating: Cell.empty, count: HashIndex.cellCountMin)
  private(set) var count = 0

  private var mask: Int { cells.count - 1 }

  /// The place with this hash that `isWanted` accepts.
  func find(_ hash: UInt32, _ isWanted: (Int32) -> Bool) -> Int32? {
    var index = Int(hash) & mask
    while !cells[index].isEmpty {
      if cells[index].hash == hash, isWanted(cells[index].place) { return cells[index].place }
      index = (index + 1) & mask
    }
    return nil
  }

  /// Adds a place, which must not be in the index.
  mutating func insert(_ place: Int32, _ hash: UInt32) {
    if (count + 1) * 8 > cells.count * 7 { grow() }
    put(Cell(hash: hash, place: place))
    count += 1
  }

  /// Replaces `place` with another one.
  mutating func replace(_ place: Int32, by other: Int32, _ hash: UInt32) {
    if let index = cell(of: place, hash) { cells[index].place = other }
  }

  mutating func remove(_ place: Int32, _ hash: UInt32) {
    guard var hole = cell(of: place, hash) else { return }
    count -= 1
    var index = hole
    while true {
      index = (index + 1) & mask
      if cells[index].isEmpty { break }
      // It may move back unless its own home is after the hole.
      let home = Int(cells[index].hash) & mask
      if (index - home) & mask >= (index - hole) & mask {
        cells[hole] = cells[index]
        hole = index
      }
    }
    cells[hole] = .empty
  }

  private func cell(of place: Int32, _ hash: UInt32) -> Int? {
    var index = Int(hash) & mask
    while !cells[index].isEmpty {
      if cells[index].place == place { return index }
      index = (index + 1) & mask
    }
    return nil
  }

  private mutating func put(_ cell: Cell) {
    var index = Int(cell.hash) & mask
    while !cells[index].isEmpty { index = (index + 1) & mask }
    cells[index] = cell
  }

  private mutating func grow() {
    let former = cells
    cells = ContiguousArray(repeating: .empty, count: 2 * former.count)
    for cell in former where !cell.isEmpty { put(cell) }
  }
}
