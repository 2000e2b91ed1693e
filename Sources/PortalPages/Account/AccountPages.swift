import Foundation
import Hummingbird
import JSON
import Portal
import PortalHTTP
import PortalViews

/// `/overview`, `/usage` and `/audit`: what members read about their account.
struct AccountPages {
  private static let eventCount = 5

  let keys: Keys
  let usages: Usages
  let audit: AuditEvents

  func addRoutes(to routes: MemberRoutes) {
    routes.get("overview", .readKeys, query: nil, use: overview)
    routes.get("usage", .readUsage, query: nil, use: usage)
    routes.get("audit", .readAudit, query: nil, use: events)
  }

  private var now: Date { keys.clock.now.expiryDate }

  @Sendable private func overview(_ request: Request, _ context: MemberContext) async throws -> Response {
    let active = try await keys.list(
      of: context.accountID, KeyFilter(status: .active), page: PageRequest(limit: PageRequest.limitMax))
    let report = try await usages.report(onAccount: context.accountID, days: UsageReport.daysDefault)
    let events = try await audit.list(of: context.accountID, page: PageRequest(limit: Self.eventCount))
    return Response(
      OverviewPage(
        keys: active.items, hasMoreKeys: active.next != nil, report: report, events: events.items,
        mayChange: context.may(.changeKeys), at: now),
      in: context.frame)
  }

  @Sendable private func usage(_ request: Request, _ context: MemberContext) async throws -> Response {
    let asked = PageQuery(request).text("days").flatMap { Int(digits: $0.utf8) }
    let days = UsagePage.dayCounts.first { $0 == asked } ?? UsageReport.daysDefault
    let report = try await usages.report(onAccount: context.accountID, days: days)
    let known = try await keys.list(of: context.accountID, page: PageRequest(limit: PageRequest.limitMax))
    let names = Dictionary(known.items.map { ($0.id, $0.name) }) { first, _ in first }
    return Response(UsagePage(report, names: names, FormState(["days": "\(days)"])), in: context.frame)
  }

  @Sendable private func events(_ request: Request, _ context: MemberContext) async throws -> Response {
    let query = PageQuery(request)
    let action = query.choice("action", AuditEvent.Action.self)
    let actor = query.choice("actor", Actor.Kind.self)
    let target = query.text("target").flatMap { UUID(uuidString: $0) }
    let filter = AuditFilter(actor: actor.map { .kind($0) }, action: action, targetID: target)
    let found = try await audit.list(of: context.accountID, filter, page: query.page)
    let next = found.next.map { id in
      Link(
        "/audit",
        query: [
          "action": action?.rawValue, "actor": actor?.rawValue, "target": target?.text,
          "cursor": Cursor.text(of: id),
        ])
    }
    let form = FormState([
      "action": action?.rawValue ?? "", "actor": actor?.rawValue ?? "", "target": target?.text ?? "",
    ])
    return Response(AuditPage(found.items, form, next: next, at: now), in: context.frame)
  }
}
