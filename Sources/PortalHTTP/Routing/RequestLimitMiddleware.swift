import Foundation
import Hummingbird
import Portal

/// Counts requests that nobody logs in for, by the client's address.
struct AddressLimitMiddleware: RouterMiddleware {
  let limits: RequestLimits

  func handle(
    _ request: Request, context: AppRequestContext,
    next: @concurrent (Request, AppRequestContext) async throws -> Response
  ) async throws -> Response {
    try limits.countAddress(context.clientAddress)
    return try await next(request, context)
  }
}

/// As ``AddressLimitMiddleware``, for requests that no route is for; the others are counted by their groups.
struct UnmatchedLimitMiddleware: RouterMiddleware {
  let limits: RequestLimits

  func handle(
    _ request: Request, context: AppRequestContext,
    next: @concurrent (Request, AppRequestContext) async throws -> Response
  ) async throws -> Response {
    if context.endpointPath == nil { try limits.countAddress(context.clientAddress) }
    return try await next(request, context)
  }
}

/// Has the reads of an account wait for their turn, whichever route they are for.
///
/// What an answer reads while it is written, as an export does, is not waited for: it reads a page at a time.
struct AccountTurnMiddleware<Context: RequestContext>: RouterMiddleware {
  let turns: AccountTurns
  /// Nil where a request is about no account.
  let accountID: @Sendable (Context) -> UUID?

  func handle(
    _ request: Request, context: Context, next: @concurrent (Request, Context) async throws -> Response
  ) async throws -> Response {
    guard [.get, .head].contains(request.method), let accountID = accountID(context) else {
      return try await next(request, context)
    }
    return try await turns.withTurn(of: accountID) { try await next(request, context) }
  }
}
