import Foundation
import JSON
import PortalViews

@testable import Portal

/// Text that would break out of HTML, of an attribute, of a link and of a script.
let hostile = "</script><svg onload=alert(1)>\"'&amp;<!-- \u{0}"

let now = Timestamp.date(from: "2026-11-30T18:05:07Z") ?? .distantPast
let someID = UUID(uuid: (1, 143, 78, 106, 0, 0, 112, 0, 128, 0, 0, 0, 0, 0, 0, 1))

func makeKey(_ change: (inout Key) -> Void = { _ in }) -> Key {
  let plan = Plan(name: "default", keyCap: 25, scopes: ["*"], rateLimitPerMinuteMax: 600)
  var key = Key(
    id: someID, accountID: someID, name: hostile, start: "lk_live_abcd", environment: .live,
    scopes: ["orders:read"], rateLimitPerMinute: 60, limits: [RateLimit(name: "burst", limit: 5, windowSeconds: 1)],
    rateLimitMode: .fast, lastUsedAt: now.addingTimeInterval(-200), totalRequests: 1_234,
    createdAt: now.adding(days: -3),
    description: hostile, tags: ["a"], metadata: "{\"a\":\"<\"}",
    createdBy: Key.Creator(kind: "user", id: nil, name: hostile), roles: [hostile],
    effectivePermissions: ["orders.read"],
    rules: KeyRules(plan: plan))
  change(&key)
  return key
}

func makeReport(requests: Int = 40, completeThrough: Date = now) -> UsageReport {
  var totals = UsageTotals()
  (totals.successes, totals.errors, totals.denied) = (requests, requests / 4, requests / 8)
  let today = Day(containing: now)
  return UsageReport(
    from: today.advanced(by: -29), to: today,
    days: requests == 0 ? [] : [(today, totals), (today.advanced(by: -2), totals)],
    endpoints: requests == 0 ? [] : [(hostile, totals)], keys: requests == 0 ? [] : [(someID, totals)],
    completeThrough: completeThrough)
}

func makeEvent(_ action: AuditEvent.Action = .keyRevoked) -> AuditEvent {
  AuditEvent(
    id: someID, at: now.addingTimeInterval(-90), actorKind: "staff", actorID: someID, actorName: hostile,
    action: action.rawValue, targetKind: "key", targetID: someID, reason: hostile, ticket: hostile, detail: hostile,
    ip: hostile)
}

/// A form with hostile values in all fields, and a problem in each.
func makeForm(_ names: String...) -> FormState {
  var form = FormState()
  for name in names {
    form.set(name, hostile)
    form.refuse(name, hostile)
  }
  form.refuse(nil, hostile)
  return form
}

/// Every page, with hostile texts wherever there are texts of people.
func allPages() -> [(name: String, page: any PortalPage)] {
  let key = makeKey()
  let user = User(id: someID, email: hostile)
  let member = Member(user: user, role: .owner, joinedAt: now)
  let invitation = Invitation(
    id: someID, email: hostile, role: .viewer, inviterName: hostile, createdAt: now, expiresAt: now)
  let session = OpenSession(
    id: someID, createdAt: now, lastSeenAt: now, expiresAt: now, ip: hostile, userAgent: hostile)
  let otherID = UUID(uuid: (2, 143, 78, 106, 0, 0, 112, 0, 128, 0, 0, 0, 0, 0, 0, 1))
  var other = session
  other.id = otherID
  let accounts = [
    OwnAccount(id: someID, name: hostile, role: .owner), OwnAccount(id: otherID, name: hostile, role: .viewer),
  ]
  let fields = makeForm(
    "name", "environment", "scopes", "expires", "expiresOn", "rateLimitPerMinute", "allowedIPs", "tags", "description")
  let changedFields = makeForm(
    "name", "scopes", "expires", "expiresOn", "rateLimitPerMinute", "allowedIPs", "tags", "description")
  let revoked = makeKey { $0.revokedAt = now }
  let violating = makeKey { key in
    key.rules.policy = KeyPolicy(isExpiryRequired: true)
    key.disabledAt = now
    key.expiresAt = nil
    key.rateLimitMode = .consistent
  }
  let narrowed = makeKey { key in
    key.rules.plan.scopes = ["batch:*"]
    key.rules.plan.maxKeyLifetimeDays = 30
    key.rules.plan.rateLimitPerMinuteMax = 10
  }
  let late = Propagation(instances: 3, acknowledged: 2, milliseconds: 1_000)
  let next: Link = "/keys?cursor=\(hostile)"
  return [
    ("sign in", SignInPage(makeForm("email", "code"), isSignUpOpen: true, note: SignInPage.first)),
    ("sign in with a code", SignInPage(makeForm("email", "code"), needsCode: true, isSignUpOpen: false)),
    ("sign up", SignUpPage(makeForm("email", "accountName", "password"))),
    ("forgotten password", ForgottenPasswordPage(makeForm("email"))),
    ("reset", MailedCodePage.resetPassword(makeForm("token", "password"))),
    ("verify", MailedCodePage.verifyEmail(makeForm("token"))),
    ("accept", MailedCodePage.acceptInvitation(makeForm("token", "password"))),
    ("mail", MessagePage.mailIsOnItsWay), ("sign-up mail", MessagePage.signUpMailIsOnItsWay),
    ("verified", MessagePage.emailVerified), ("was reset", MessagePage.passwordReset),
    ("closed", MessagePage.signUpClosed), ("welcome", MessagePage.invitationAccepted),
    ("problem", ProblemPage(hostile, hostile, next: "\(hostile)", requestID: hostile)),
    (
      "overview",
      OverviewPage(
        keys: [makeKey { $0.expiresAt = now.adding(days: 1) }, violating], hasMoreKeys: true, report: makeReport(),
        events: [makeEvent()], mayChange: true, at: now)
    ),
    (
      "quiet overview",
      OverviewPage(
        keys: [key], hasMoreKeys: true, report: makeReport(requests: 0), events: [], mayChange: false, at: now)
    ),
    (
      "first overview",
      OverviewPage(
        keys: [], hasMoreKeys: false, report: makeReport(requests: 0), events: [], mayChange: true, at: now)
    ),
    ("keys", KeyListPage([key, revoked], makeForm("q", "tag", "status"), next: next, mayChange: true, at: now)),
    ("no keys", KeyListPage([], FormState(["status": "active"]), next: nil, mayChange: true, at: now)),
    ("no match", KeyListPage([], FormState(["q": hostile]), next: nil, mayChange: false, at: now)),
    ("new key", KeyFormPage.create(fields, key.rules.plan)),
    ("new key of a narrow plan", KeyFormPage.create(FormState(), narrowed.rules.plan)),
    (
      "edit",
      KeyFormPage.edit(
        changedFields, violating,
        note: KeyFormPage.conflict([FormState.Difference(name: "name", mine: hostile, theirs: hostile)]))
    ),
    ("edit again", KeyFormPage.edit(FormState(), key, note: KeyFormPage.conflict([]))),
    (
      "key",
      KeyPage(
        key, makeReport(), history: [makeEvent()], mayChange: true,
        note: KeyPage.done("Refused by", Propagation(instances: 3, acknowledged: 3, milliseconds: 14)), at: now)
    ),
    ("revoked key", KeyPage(revoked, makeReport(requests: 0), history: [], mayChange: true, at: now)),
    (
      "disabled key",
      KeyPage(
        violating, makeReport(), history: [], mayChange: true,
        note: KeyPage.refused([FieldProblem(.scope(0), hostile)]), at: now)
    ),
    ("narrowed key", KeyPage(narrowed, makeReport(), history: [], mayChange: false, at: now)),
    ("reveal", RevealPage(key, Secret(presented: hostile), more: RollPage.done(revoked, late))),
    ("no reveal", RevealPage(key, nil, more: RollPage.done(key, late))),
    ("right copy", KeyCheckPage(key, isSame: true)), ("wrong copy", KeyCheckPage(key, isSame: false)),
    ("roll", RollPage(key, makeForm("grace"), at: now)),
    ("revoke", RevokePage(key, makeReport(), at: now)),
    ("usage", UsagePage(makeReport(), names: [someID: hostile], FormState(["days": "30"]))),
    ("no usage", UsagePage(makeReport(requests: 0), names: [:], makeForm("days"))),
    (
      "members",
      MembersPage(
        [member, Member(user: User(id: otherID, email: hostile), role: .viewer, joinedAt: now)], [invitation],
        reader: user, mayChange: true, makeForm("email", "role"), next: "/members?cursor=a",
        note: MembersPage.changed(member), at: now)
    ),
    (
      "members for a viewer",
      MembersPage([member], [invitation], reader: user, mayChange: false, FormState(), next: nil, at: now)
    ),
    ("invitation", InvitationPage(invitation, Secret(presented: hostile))),
    ("leave", RemoveMemberPage(someID, isReader: true)), ("remove", RemoveMemberPage(someID, isReader: false)),
    (
      "audit",
      AuditPage(
        AuditEvent.Action.allCases.map { makeEvent($0) }, FormState(["target": hostile]), next: next, at: now)
    ),
    (
      "me",
      MePage(
        user, sessions: [session, other], current: someID, accounts: accounts, accountID: someID,
        makeForm("password", "newPassword"), note: MePage.passwordChanged, at: now)
    ),
  ]
}
