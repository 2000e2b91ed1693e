import Portal

/// Rows of text in columns, for people who read them at a terminal.
///
/// Columns are separated by two spaces and are as wide as their widest cell; no line ends with spaces. An empty cell is
/// printed as `-`, so that each row has as many cells as there are columns.
struct Table: Sendable, Equatable {
  struct Column: Sendable, Equatable, ExpressibleByStringLiteral {
    let heading: String
    /// Numbers are aligned to the right.
    var isNumber = false

    init(stringLiteral heading: String) { self.heading = heading }

    static func number(_ heading: String) -> Column {
      var column = Column(stringLiteral: heading)
      column.isNumber = true
      return column
    }
  }

  private static let gap = 2

  private let columns: [Column]
  private var rows: [[String]] = []

  init(_ columns: [Column]) { self.columns = columns }

  /// Adds a row. Missing cells at its end are empty, and surplus cells are dropped.
  mutating func add(_ cells: [String?]) {
    rows.append(
      columns.indices.map { index in
        guard index < cells.count, let text = cells[index], !text.isEmpty else { return "-" }
        return TypedText.masked(text)
      })
  }

  /// Returns one line per row, each with a line break.
  func text(hasHeadings: Bool = true) -> String {
    let lines = (hasHeadings ? [columns.map(\.heading)] : []) + rows
    let sized = lines.map { cells in cells.map { (text: $0, width: TerminalText.width(of: $0)) } }
    let widths = columns.indices.map { column in sized.map { $0[column].width }.max() ?? 0 }
    return sized.map { cells in line(cells, widths) + "\n" }.joined()
  }

  private func line(_ cells: [(text: String, width: Int)], _ widths: [Int]) -> String {
    var line = ""
    // Spaces to write before the next text, if there is one.
    var blanks = 0
    for (index, cell) in cells.enumerated() {
      let padding = widths[index] - cell.width
      if columns[index].isNumber { blanks += padding }
      line += String(repeating: " ", count: blanks) + cell.text
      blanks = Self.gap + (columns[index].isNumber ? 0 : padding)
    }
    return line
  }
}
