import Foundation
import Hummingbird
import JSON
import Portal
import PortalHTTP

/// `/v1/keys/{id}/credits` and `/v1/accounts/{id}/credits`: what a key, or the keys of an account together, may still
/// be used for. For backends, and for staff.
struct CreditsController {
  let credits: Credits
  let idempotency: Idempotency

  func addRoutes(to routes: CompanyRoutes) {
    routes.get("v1/keys/{id}/credits", .readKeyCredits) { try await find(.key(try $1.pathID), $1) }
    routes.put("v1/keys/{id}/credits", .changeKeyCredits) { try await replace(.key(try $1.pathID), $0, $1) }
    routes.post("v1/keys/{id}/credits", .changeKeyCredits) { try await change(.key(try $1.pathID), $0, $1) }
    routes.get("v1/accounts/{id}/credits", .readAccountCredits) { try await find(.account(try $1.pathID), $1) }
    routes.put("v1/accounts/{id}/credits", .changeAccountCredits) {
      try await replace(.account(try $1.pathID), $0, $1)
    }
    routes.post("v1/accounts/{id}/credits", .changeAccountCredits) {
      try await change(.account(try $1.pathID), $0, $1)
    }
  }

  private func find(_ owner: CreditOwner, _ context: CompanyContext) async throws -> Response {
    let balance = try await credits.find(of: owner, by: context.caller)
    return Response(json: .object { $0.credits(balance) })
  }

  private func replace(
    _ owner: CreditOwner, _ request: Request, _ context: CompanyContext
  ) async throws -> Response {
    var fields = try await RequestFields(request)
    let change = fields.wholeCredits()
    let reason = fields.reason(of: context)
    let body = try fields.finish(change) { $0 }
    return try await self.change(owner, body, reason, nil, context)
  }

  private func change(
    _ owner: CreditOwner, _ request: Request, _ context: CompanyContext
  ) async throws -> Response {
    var fields = try await RequestFields(request)
    let whole = fields
    let change = fields.creditOperation()
    let reason = fields.reason(of: context)
    let body = try fields.finish(change) { $0 }
    return try await self.change(owner, body, reason, (request, whole), context)
  }

  /// `original` is the request, if an `Idempotency-Key` in it makes it happen once.
  private func change(
    _ owner: CreditOwner, _ change: CreditChange, _ reason: SupportReason?,
    _ original: (request: Request, fields: RequestFields)?, _ context: CompanyContext
  ) async throws -> Response {
    let start = ContinuousClock.now
    let accountID = try await credits.settledAccountID(of: owner, by: context.caller)
    let once = try original.flatMap { original in
      // The answer has no secret to seal.
      try original.request.idempotent(
        original.fields, of: context.holderID, Secret(presented: context.holderID.text), in: accountID)
    }
    let answer = try await idempotency.once(once, of: accountID) { transaction in
      let balance = try await credits.change(
        change, of: owner, in: accountID, by: context.caller, reason, on: transaction)
      return FirstAnswer(
        objects: [JSONWriter.object { $0.credits(balance) }.text], newID: accountID, secret: nil)
    }
    let object = try answer.objects(atLeast: 1)[0]
    let propagation = await credits.propagation(since: start)
    return Response(
      json: .object { json in
        json.fields(ofObject: object)
        json.propagation(propagation)
      })
  }
}
