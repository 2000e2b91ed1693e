package import Foundation
package import Portal

/// The usage of all keys of an account.
package struct UsagePage: PortalPage {
  package let title = "Usage"
  package let section: Frame.Section? = .usage
  private let report: UsageReport
  private let names: [UUID: String]
  private let form: FormState

  package static let dayCounts = [7, 30, 90]

  /// `names` are the names of the keys, as far as they are known. `form` has `days`.
  package init(_ report: UsageReport, names: [UUID: String], _ form: FormState) {
    (self.report, self.names, self.form) = (report, names, form)
  }

  package var content: HTML {
    let options = Self.dayCounts.map { FormState.Option("\($0)", "the last \($0) days") }
    return """
      \(form.summary)<form method="get" action="/usage" class="filters">\(form.menu("days", "Time", options))
      <button class="plain">Show</button></form>
      \(UsageFigures(totals: report.summary).html)\(UsageChart(report: report).html)\(keyTable)
      \(EndpointTable(endpoints: report.endpoints).html)
      """
  }

  private var keyTable: HTML {
    if report.keys.isEmpty { return "" }
    func row(_ entry: (keyID: UUID, totals: UsageTotals)) -> HTML {
      """
      <tr><th scope="row"><a href="/keys/\(entry.keyID)">\(names[entry.keyID] ?? entry.keyID.text)</a></th>\
      \(HTML.number(entry.totals.totalRequests, "Requests"))\(HTML.number(entry.totals.errors, "Errors"))\
      \(HTML.number(entry.totals.denied, "Refused"))</tr>

      """
    }
    return """
      <h2>Busiest keys</h2><table class="cards"><thead><tr><th scope="col">Key</th>
      <th scope="col" class="number">Requests</th><th scope="col" class="number">Errors</th>
      <th scope="col" class="number">Refused</th></tr></thead><tbody>\(each: report.keys, row)</tbody></table>
      """
  }
}
