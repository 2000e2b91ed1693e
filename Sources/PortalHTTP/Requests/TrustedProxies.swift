import Foundation
import HTTPTypes
import Hummingbird
import Portal

/// The proxies whose word is taken for where a request comes from.
///
/// Anybody can send `X-Forwarded-For`, and each proxy on the way adds the address that it saw at the right end. So what a
/// trusted proxy added is true, and what stands left of the first address that is not a trusted proxy's is hearsay.
package struct TrustedProxies: Sendable, Equatable {
  package static let none = TrustedProxies(blocks: [])

  private let blocks: [AddressBlock]

  /// Parses addresses and CIDR blocks with commas between; nil if one is neither.
  package init?(_ text: String) {
    let parts = text.split(separator: ",", omittingEmptySubsequences: false).map {
      $0.trimmingCharacters(in: .whitespaces)
    }
    let blocks = parts == [""] ? [] : parts.map { AddressBlock($0) }
    guard blocks.allSatisfy({ $0 != nil }) else { return nil }
    self.blocks = blocks.compactMap { $0 }
  }

  private init(blocks: [AddressBlock]) { self.blocks = blocks }

  /// The nearest address that is not a trusted proxy's, walking `forwarded` from the right; the farthest trusted one where
  /// the walk ends before that, at the left end or at what is no address.
  package func client(peer: String?, forwarded: [String]) -> String? {
    guard let peer, var nearest = AddressBlock(peer) else { return peer }
    let hops = forwarded.flatMap { $0.split(separator: ",", omittingEmptySubsequences: false) }
    for hop in hops.reversed() {
      guard isTrusted(nearest), let address = AddressBlock(hop.trimmingCharacters(in: .whitespaces)),
        !hop.contains("/")
      else { break }
      nearest = address
    }
    return nearest.description
  }

  private func isTrusted(_ address: AddressBlock) -> Bool { blocks.contains { $0.contains(address) } }
}

/// Finds out where a request comes from; everything that counts, limits or writes down addresses reads the context's.
struct ClientAddressMiddleware: RouterMiddleware {
  let proxies: TrustedProxies

  func handle(
    _ request: Request, context: AppRequestContext,
    next: @concurrent (Request, AppRequestContext) async throws -> Response
  ) async throws -> Response {
    var context = context
    context.clientAddress = proxies.client(
      peer: context.clientAddress, forwarded: request.headers[values: .xForwardedFor])
    return try await next(request, context)
  }
}

extension HTTPField.Name {
  // Safe: it is a valid name.
  // swift-format-ignore: NeverForceUnwrap
  static let xForwardedFor = HTTPField.Name("X-Forwarded-For")!
}
