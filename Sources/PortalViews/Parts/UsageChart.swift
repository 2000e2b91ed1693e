import Foundation
import JSON
import Portal

/// The requests of each day as stacked bars, with the same numbers in a table. Days that are not final yet are paler.
struct UsageChart {
  private static let (width, height, left, top) = (760, 180, 52, 10)

  let report: UsageReport

  /// The number of requests of the busiest day, and at least 1.
  private var peak: Int { max(report.daily.map(\.totals.totalRequests).max() ?? 0, 1) }

  /// Whether the numbers of a day may still change.
  private func isOpen(_ day: Day) -> Bool { Day(containing: report.completeThrough) <= day }

  var html: HTML {
    let total = report.summary.totalRequests
    if total == 0 {
      return """
        <p>No requests from \(HTML.day(report.from)) to \(HTML.day(report.to)).</p>
        \(finality)
        """
    }
    let (bottom, middle, right) = (Self.top + Self.height, Self.top + Self.height / 2, Self.left + Self.width)
    let label =
      "\(Counted.text(total, "request", "requests")) from \(HTML.dayText(report.from)) to "
      + "\(HTML.dayText(report.to)); the busiest day had \(Counted.text(peak)). The table has the numbers."
    return """
      <figure><svg class="chart" role="img" aria-label="\(label)" viewBox="0 0 \(right + 4) \(bottom + 24)">
      <path class="axis" d="M\(Self.left) \(bottom)H\(right)M\(Self.left) \(middle)H\(right)M\(Self.left) \(Self.top)\
      H\(right)"/><text x="\(Self.left - 6)" y="\(Self.top + 4)" text-anchor="end">\(Counted.text(peak))</text>
      <text x="\(Self.left - 6)" y="\(bottom + 4)" text-anchor="end">0</text>
      \(each: Array(report.daily.enumerated()), bar)
      <text x="\(Self.left)" y="\(bottom + 18)">\(HTML.dayText(report.from))</text>
      <text x="\(right)" y="\(bottom + 18)" text-anchor="end">\(HTML.dayText(report.to))</text></svg></figure>
      <ul class="legend">\(Self.legend("successes", "Let through, no error"))\
      \(Self.legend("errors", "Let through, with an error"))\(Self.legend("denied", "Refused"))</ul>
      \(finality)\(table)
      """
  }
  /// Until when the numbers are final, if that is known.
  private var finality: HTML {
    guard report.completeThrough > .distantPast else { return "" }
    return """
      <p class="quiet small">Days are UTC. The numbers are final until \(HTML.time(report.completeThrough)); later ones,
      drawn paler, may still grow.</p>
      """
  }

  private func bar(_ numbered: (offset: Int, element: (day: Day, totals: UsageTotals))) -> HTML {
    let (index, (day, totals)) = (numbered.offset, numbered.element)
    let count = max(report.daily.count, 1)
    let (x, end) = (Self.left + index * Self.width / count, Self.left + (index + 1) * Self.width / count)
    let (successes, errors, denied) = (height(totals.successes), height(totals.errors), height(totals.denied))
    let bottom = Self.top + Self.height
    func part(_ kind: String, above: Int, _ size: Int) -> HTML {
      if size == 0 { return "" }
      return """
        <rect class="\(kind)" x="\(x + 1)" y="\(bottom - above - size)" width="\(max(end - x - 2, 1))" \
        height="\(size)"/>
        """
    }
    let open: HTML = isOpen(day) ? " class=\"open\"" : ""
    return """
      <g\(open)><title>\(Self.says(day, totals))\(when: isOpen(day), ", not final yet")</title>\
      \(part("successes", above: 0, successes))\(part("errors", above: successes, errors))\
      \(part("denied", above: successes + errors, denied))</g>

      """
  }

  /// The height of a part of a bar. What is not zero can be seen.
  private func height(_ count: Int) -> Int {
    count <= 0 ? 0 : max(1, Int(bounding: Double(count) / Double(peak) * Double(Self.height)))
  }

  private static func says(_ day: Day, _ totals: UsageTotals) -> String {
    "\(HTML.dayText(day)): \(Counted.text(totals.totalRequests, "request", "requests")), "
      + "\(Counted.text(totals.errors, "error", "errors")), \(Counted.text(totals.denied)) refused"
  }

  private static func legend(_ kind: String, _ text: String) -> HTML {
    """
    <li><svg class="chart" viewBox="0 0 14 14" aria-hidden="true"><rect class="\(kind)" x="1" y="1" width="12" \
    height="12"/></svg>\(text)</li>
    """
  }

  private var table: HTML {
    func row(_ entry: (day: Day, totals: UsageTotals)) -> HTML {
      let totals = entry.totals
      return """
        <tr><th scope="row">\(HTML.day(entry.day))\
        \(when: isOpen(entry.day), " <span class=\"quiet\">so far</span>")</th>
        \(HTML.number(totals.totalRequests, "Requests"))\(HTML.number(totals.errors, "Errors"))\
        \(HTML.number(totals.denied, "Refused"))</tr>

        """
    }
    return """
      <details><summary>The same as a table</summary><table class="cards"><caption>Requests by day</caption>
      <thead><tr><th scope="col">Day</th><th scope="col" class="number">Requests</th>
      <th scope="col" class="number">Errors</th><th scope="col" class="number">Refused</th></tr></thead>
      <tbody>\(each: Array(report.daily.reversed()), row)</tbody></table></details>
      """
  }
}

/// The sums of a report. A number that is not known is left out.
struct UsageFigures {
  let totals: UsageTotals

  var html: HTML {
    let error: HTML? =
      totals.successes > 0 || totals.errors > 0
      ? "<div><dt>Errors</dt><dd>\(Counted.percent(totals.errorRate))</dd></div>" : nil
    let average: HTML? = totals.averageLatencyMilliseconds.map { average in
      "<div><dt>Average latency</dt><dd>\(Int(bounding: average.rounded())) ms</dd></div>"
    }
    let p95: HTML? = totals.latencyPercentile(0.95).map { latency in
      "<div><dt>95 % faster than</dt><dd>\(Int(bounding: latency.rounded())) ms</dd></div>"
    }
    return """
      <dl class="figures"><div><dt>Requests</dt><dd>\(Counted.text(totals.totalRequests))</dd></div>
      \(error)<div><dt>Refused</dt><dd>\(Counted.text(totals.denied))</dd></div>\(average)\(p95)</dl>
      """
  }
}

/// The busiest endpoints of a report; empty if there are none.
struct EndpointTable {
  let endpoints: [(endpoint: String, totals: UsageTotals)]

  var html: HTML {
    if endpoints.isEmpty { return "" }
    func row(_ entry: (endpoint: String, totals: UsageTotals)) -> HTML {
      """
      <tr><th scope="row"><code>\(entry.endpoint)</code></th>\(HTML.number(entry.totals.totalRequests, "Requests"))\
      \(HTML.number(entry.totals.errors, "Errors"))\(HTML.number(entry.totals.denied, "Refused"))</tr>

      """
    }
    return """
      <h2>Busiest endpoints</h2><table class="cards"><thead><tr><th scope="col">Endpoint</th>
      <th scope="col" class="number">Requests</th><th scope="col" class="number">Errors</th>
      <th scope="col" class="number">Refused</th></tr></thead><tbody>\(each: endpoints, row)</tbody></table>
      """
  }
}

extension HTML {
  /// A cell with a number, named for narrow screens, where the head of the table is not shown.
  static func number(_ number: Int, _ label: String) -> HTML {
    "<td class=\"number\" data-label=\"\(label)\">\(Counted.text(number))</td>"
  }
}
