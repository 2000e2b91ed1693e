import Foundation
import HTTPTypes
import Hummingbird
import JSON
import Portal
import PortalHTTP
import PortalViews

/// `/keys`: the account's keys, and everything that its members do with them.
struct KeyPages {
  private static let historyCount = 10

  let keys: Keys
  let idempotency: Idempotency
  let usages: Usages
  let audit: AuditEvents
  let verifier: Verifier

  func addRoutes(to routes: MemberRoutes) {
    routes.get("keys", .readKeys, query: nil, use: list)
    routes.get("keys/new", .changeKeys, query: nil, use: new)
    routes.post("keys", .changeKeys, use: create)
    routes.get("keys/{id}", .readKeys, query: nil) { try await page($1.pathID, $1) }
    routes.post("keys/{id}/check", .readKeys, use: check)
    routes.get("keys/{id}/edit", .changeKeys, query: nil, use: edit)
    routes.post("keys/{id}/edit", .changeKeys, use: update)
    routes.get("keys/{id}/roll", .changeKeys, query: nil, use: askRoll)
    routes.post("keys/{id}/roll", .changeKeys, use: roll)
    routes.get("keys/{id}/revoke", .changeKeys, query: nil, use: askRevoke)
    routes.post("keys/{id}/revoke", .changeKeys, use: revoke)
    routes.post("keys/{id}/disable", .changeKeys) { try await setEnabled(false, $0, $1) }
    routes.post("keys/{id}/enable", .changeKeys) { try await setEnabled(true, $0, $1) }
  }

  private var now: Date { keys.clock.now.expiryDate }

  // MARK: Reading

  @Sendable private func list(_ request: Request, _ context: MemberContext) async throws -> Response {
    let query = PageQuery(request)
    let status = query.text("status") == "any" ? nil : query.choice("status", Key.Status.self) ?? .active
    let tag = query.text("tag").flatMap { KeyTag.isValid($0) ? $0 : nil }
    let filter = KeyFilter(
      status: status, tags: tag.map { [$0] } ?? [], text: query.text("q", max: KeyFilter.textLengthMax))
    let found = try await keys.list(of: context.accountID, filter, page: query.page)
    let form = FormState(["status": status?.rawValue ?? "any", "q": filter.text ?? "", "tag": tag ?? ""])
    let next = found.next.map { id in
      Link(
        "/keys",
        query: [
          "status": form.value("status"), "q": filter.text, "tag": tag, "cursor": Cursor.text(of: id),
        ])
    }
    return Response(
      KeyListPage(found.items, form, next: next, mayChange: context.may(.changeKeys), at: now), in: context.frame)
  }

  private func page(_ id: UUID, _ context: MemberContext, note: HTML? = nil) async throws -> Response {
    let key = try await keys.find(id, of: context.accountID, by: context.caller)
    let report = try await usages.report(
      onKey: id, of: context.accountID, by: context.caller, days: UsageReport.daysDefault)
    let history = try await audit.list(
      of: context.accountID, AuditFilter(targetID: id), page: PageRequest(limit: Self.historyCount))
    return Response(
      KeyPage(key, report, history: history.items, mayChange: context.may(.changeKeys), note: note, at: now),
      in: context.frame)
  }

  /// Compares a copy with the key, by its hash. The copy is not kept.
  @Sendable private func check(_ request: Request, _ context: MemberContext) async throws -> Response {
    let key = try await keys.find(try context.pathID, of: context.accountID, by: context.caller)
    let copy = Secret(presented: TypedText.trimmed(try await FormFields(request).secret("copy")))
    var found: VerifiableKey?
    if let hash = verifier.format.hash(of: copy) { found = try await verifier.keys.value(of: hash) }
    return Response(KeyCheckPage(key, isSame: found?.id == key.id), in: context.frame)
  }

  // MARK: Creating

  @Sendable private func new(_ request: Request, _ context: MemberContext) async throws -> Response {
    let plan = context.session.account.plan
    return Response(KeyFormPage.create(.newKey(plan), plan), in: context.frame)
  }

  @Sendable private func create(_ request: Request, _ context: MemberContext) async throws -> Response {
    var form = try await FormFields(request)
    let once = once(&form, request, context)
    let settings = form.keySettings(at: now)
    guard let settings, let once else {
      // A repeat may have a day that was not over at the first request and is over now.
      if let once, let answer = try await idempotency.firstAnswer(to: once) {
        return try await reveal(answer, context)
      }
      return refused(form, context)
    }
    let now = try await keys.now()
    do {
      let answer = try await idempotency.once(once, of: context.accountID) { transaction in
        FirstAnswer(
          page: try await keys.create(
            settings, for: context.accountID, by: context.caller, at: now, on: transaction))
      }
      return try await reveal(answer, context)
    } catch let error as PortalError {
      guard form.take(error) else { throw error }
      return refused(form, context)
    }
  }

  private func refused(_ form: FormFields, _ context: MemberContext) -> Response {
    Response(
      KeyFormPage.create(form.state, context.session.account.plan), in: context.frame, status: .unprocessableContent)
  }

  private func reveal(
    _ answer: FirstAnswer, _ context: MemberContext, more: HTML? = nil
  ) async throws -> Response {
    let key = try await keys.find(answer.newID, of: context.accountID, by: context.caller)
    return Response(RevealPage(key, answer.secret, more: more), in: context.frame, status: .created)
  }

  /// The request that the form's field `once` identifies; nil, with a problem, if it has none. A form that was used
  /// for something else gets a new one.
  private func once(
    _ form: inout FormFields, _ request: Request, _ context: MemberContext
  ) -> IdempotentRequest? {
    let once = IdempotentRequest(
      key: form.text("once"), request: Array("\(request.method) \(request.uri.path)\n".utf8) + form.bytes,
      accountID: context.accountID, holder: context.token)
    if once == nil {
      form.state.set("once", FormState.newOnce)
      form.refuse(nil, "The form was incomplete. Send it again.")
    }
    return once
  }

  // MARK: Changing

  @Sendable private func edit(_ request: Request, _ context: MemberContext) async throws -> Response {
    let key = try await keys.find(try context.pathID, of: context.accountID, by: context.caller)
    return Response(KeyFormPage.edit(FormState(of: key), key), in: context.frame)
  }

  @Sendable private func update(_ request: Request, _ context: MemberContext) async throws -> Response {
    var form = try await FormFields(request)
    let key = try await keys.find(try context.pathID, of: context.accountID, by: context.caller)
    let revision = Int(digits: form.text("revision").utf8) ?? key.revision
    func answer(_ status: HTTPResponse.Status, note: HTML? = nil) -> Response {
      Response(KeyFormPage.edit(form.state, key, note: note), in: context.frame, status: status)
    }
    guard let changes = form.keyChanges(of: key, at: now) else { return answer(.unprocessableContent) }
    do {
      let updated = try await keys.update(
        key.id, of: context.accountID, changes, ifRevision: [revision], by: context.caller)
      return try await page(key.id, context, note: KeyPage.done("The changes are in force on", updated.propagation))
    } catch PortalError.preconditionFailed {
      let differences = form.state.differences(from: FormState(of: key))
      form.state.set("revision", "\(key.revision)")
      return answer(.preconditionFailed, note: KeyFormPage.conflict(differences))
    } catch let error as PortalError {
      guard form.take(error) else { throw error }
      return answer(.unprocessableContent)
    }
  }

  private func setEnabled(_ isEnabled: Bool, _ request: Request, _ context: MemberContext) async throws -> Response {
    let id = try context.pathID
    do {
      let updated = try await keys.update(
        id, of: context.accountID, KeyChanges(isEnabled: isEnabled), by: context.caller)
      let deed = isEnabled ? "Let through again by" : "Refused by"
      return try await page(id, context, note: KeyPage.done(deed, updated.propagation))
    } catch let error as PortalError {
      // Enabling checks all settings, which are not on this page.
      guard let problems = error.fieldProblems else { throw error }
      return try await page(id, context, note: KeyPage.refused(problems))
    }
  }

  // MARK: Rolling

  @Sendable private func askRoll(_ request: Request, _ context: MemberContext) async throws -> Response {
    let key = try await keys.find(try context.pathID, of: context.accountID, by: context.caller)
    let form = FormState(["grace": "86400", "once": FormState.newOnce])
    return Response(RollPage(key, form, at: now), in: context.frame)
  }

  @Sendable private func roll(_ request: Request, _ context: MemberContext) async throws -> Response {
    var form = try await FormFields(request)
    let id = try context.pathID
    let grace = form.integer("grace", 0...Key.graceSecondsMax, "Choose how long the old key keeps working.")
    let once = once(&form, request, context)
    guard let grace, let once else {
      return try await refusedRoll(id, form, context)
    }
    let start = ContinuousClock.now
    let now = try await keys.now()
    do {
      let answer = try await idempotency.once(once, of: context.accountID) { transaction in
        FirstAnswer(
          page: try await keys.roll(
            id, of: context.accountID, graceSeconds: grace, by: context.caller, at: now, on: transaction
          ).successor)
      }
      let propagation = await keys.propagation(since: start)
      let old = try await keys.find(id, of: context.accountID, by: context.caller)
      return try await reveal(answer, context, more: RollPage.done(old, propagation))
    } catch let error as PortalError {
      guard form.take(error) else { throw error }
      return try await refusedRoll(id, form, context)
    }
  }

  private func refusedRoll(_ id: UUID, _ form: FormFields, _ context: MemberContext) async throws -> Response {
    let key = try await keys.find(id, of: context.accountID, by: context.caller)
    return Response(RollPage(key, form.state, at: now), in: context.frame, status: .unprocessableContent)
  }

  // MARK: Revoking

  @Sendable private func askRevoke(_ request: Request, _ context: MemberContext) async throws -> Response {
    let key = try await keys.find(try context.pathID, of: context.accountID, by: context.caller)
    if key.revokedAt != nil { return .seeOther("/keys/\(key.id)") }
    let report = try await usages.report(
      onKey: key.id, of: context.accountID, by: context.caller, days: RevokePage.dayCount)
    return Response(RevokePage(key, report, at: now), in: context.frame)
  }

  @Sendable private func revoke(_ request: Request, _ context: MemberContext) async throws -> Response {
    let revoked = try await keys.revoke(try context.pathID, of: context.accountID, by: context.caller)
    return try await page(revoked.id, context, note: KeyPage.done("Refused by", revoked.propagation))
  }
}

extension FirstAnswer {
  /// The answer to a form. Its page reads the key again, so the answer has the id alone.
  fileprivate init(page issued: IssuedKey) {
    self.init(
      objects: [JSONWriter.object { $0.field("id", issued.key.id) }.text], newID: issued.key.id,
      secret: issued.secret)
  }
}

extension FormFields {
  /// Takes a refusal that the reader can correct in the form, or read beside it. False for any other error.
  fileprivate mutating func take(_ error: PortalError) -> Bool {
    if let problems = error.fieldProblems {
      refuse(problems)
      return true
    }
    switch error {
    case .keyCapReached(let cap):
      refuse(
        nil, "Your plan allows \(Counted.text(cap, "live key", "live keys")). Revoke one that is no longer needed.")
    case .idempotencyConflict:
      state.set("once", FormState.newOnce)
      refuse(nil, "This form had been used before, with other values. Nothing has been made this time: send it again.")
    default: return false
    }
    return true
  }
}

extension PortalError {
  /// The fields that were refused; nil for any other error.
  fileprivate var fieldProblems: [FieldProblem]? {
    switch self {
    case .scopeNotAllowed(let problems), .limitNotAllowed(let problems), .policyViolation(let problems),
      .invalid(let problems):
      problems
    default: nil
    }
  }
}
