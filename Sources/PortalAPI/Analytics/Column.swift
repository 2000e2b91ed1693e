import Foundation
import JSON
import Portal

/// A value in a table that is returned as JSON or as CSV.
enum Cell {
  case text(String?)
  case id(UUID?)
  case time(Date?)
  case day(Day?)
  case count(Int)
  case number(Double?)
  case ratio(Double?)
  case flag(Bool)
}

/// One column of a table: its name, which is the same in JSON and CSV, and the source of its values.
struct Column<Row>: Sendable {
  let name: StaticString
  let cell: @Sendable (Row) -> Cell

  init(_ name: StaticString, _ cell: @escaping @Sendable (Row) -> Cell) {
    self.name = name
    self.cell = cell
  }
}

extension JSONWriter {
  mutating func object<Row>(_ row: Row, _ columns: [Column<Row>]) {
    object { json in
      for column in columns {
        switch column.cell(row) {
        case .text(let value): json.field(column.name, value)
        case .id(let value): json.field(column.name, value)
        case .time(let value): json.field(column.name, value)
        case .day(let value): json.field(column.name, value?.description)
        case .count(let value): json.field(column.name, value)
        case .number(let value): json.field(column.name, value)
        case .ratio(let value): json.field(column.name, ratio: value)
        case .flag(let value): json.field(column.name, value)
        }
      }
    }
  }

  mutating func fields(of range: DayRange) {
    field("from", range.from.description)
    field("to", range.to.description)
  }
}
