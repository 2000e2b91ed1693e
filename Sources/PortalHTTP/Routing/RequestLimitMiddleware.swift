import Foundation
import Hummingbird
import Portal

/// Counts requests that nobody logs in for, by the client's address.
package struct AddressLimitMiddleware: RouterMiddleware {
  package let limits: RequestLimits

  package func handle(
    _ request: Request, context: AppRequestContext,
    next: @concurrent (Request, AppRequestContext) async throws -> Response
  ) async throws -> Response {
    try limits.countAddress(context.clientAddress)
    return try await next(request, context)
  }
}

/// As ``AddressLimitMiddleware``, for requests that no route is for; the others are counted by their groups.
package struct UnmatchedLimitMiddleware: RouterMiddleware {
  package let limits: RequestLimits

  package func handle(
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
package struct AccountTurnMiddleware<Context: RequestContext>: RouterMiddleware {
  package let turns: AccountTurns
  /// Nil where a request is about no account.
  package let accountID: @Sendable (Context) -> UUID?

  package func handle(
    _ request: Request, context: Context, next: @concurrent (Request, Context) async throws -> Response
  ) async throws -> Response {
    guard [.get, .head].contains(request.method), let accountID = accountID(context) else {
      return try await next(request, context)
    }
    return try await turns.withTurn(of: accountID) { try await next(request, context) }
  }
}
