import Foundation
import Hummingbird
import Portal

/// Counts requests to routes without authentication, by the client's address.
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

/// Like ``AddressLimitMiddleware``, for requests that match no route; the others are counted by their groups.
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

/// Makes reads of an account wait for their turn, on whichever route.
///
/// The turn ends before the body is written. An export, which reads while it is written, reads one page at a time.
package struct AccountTurnMiddleware<Context: RequestContext>: RouterMiddleware {
  package let turns: AccountTurns
  /// Nil if the request is not about an account.
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
