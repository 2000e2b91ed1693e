import Foundation
import HTTPTypes
import Hummingbird
import Portal
import Synchronization

/// The proxies whose word is taken for where a request comes from.
///
/// Anybody can send `X-Forwarded-For`, and each proxy on the way adds the address that it saw at the right end. So what
/// a trusted proxy added is true, and what stands left of the first address that is not a trusted proxy's is hearsay.
package struct TrustedProxies: Sendable, Equatable {
  package static let none = TrustedProxies(blocks: [])
  /// Elements of a header that are looked at, from the right. No chain of proxies is so long.
  private static let hopCountMax = 32

  private let blocks: [AddressBlock]
  /// Where they say it.
  package var header = ForwardedHeader.xForwardedFor
  /// Whether a peer without an address is one of them: a program of this machine that may write the server's unix
  /// socket.
  package var includesSocketPeers = false

  /// Where a request comes from.
  package struct Origin: Sendable, Equatable {
    /// Nil where there is no socket.
    package var address: String?
    /// Whether a trusted proxy has said what is no address, so that `address` is the proxy's.
    package var isUnreadable: Bool

    package init(address: String?, isUnreadable: Bool = false) {
      self.address = address
      self.isUnreadable = isUnreadable
    }
  }

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

  /// The nearest address that is not a trusted proxy's, walking `forwarded`, the values of ``header``, from the right;
  /// the farthest trusted one where the walk ends before that, at the left end or at what is no address.
  package func origin(peer: String?, forwarded: [String]) -> Origin {
    var nearest = peer.flatMap { AddressBlock($0) }
    guard nearest != nil || (peer == nil && includesSocketPeers) else { return Origin(address: peer) }
    var hops = ForwardedHops(header, forwarded)
    var count = 0
    while count < Self.hopCountMax, nearest.map(isTrusted) ?? true, let hop = hops.next() {
      guard let address = hop else { return Origin(address: nearest?.description, isUnreadable: true) }
      nearest = address
      count += 1
    }
    return Origin(address: nearest?.description)
  }

  /// Whether the peer of a connection is one of them.
  func isTrusted(peer: String?) -> Bool {
    guard let peer else { return includesSocketPeers }
    guard !blocks.isEmpty, let address = AddressBlock(peer) else { return false }
    return isTrusted(address)
  }

  private func isTrusted(_ address: AddressBlock) -> Bool { blocks.contains { $0.contains(address) } }
}

/// Finds out where a request comes from; everything that counts, limits or writes down addresses reads the context's.
package struct ClientAddressMiddleware: RouterMiddleware {
  package let proxies: TrustedProxies
  package let observer: Observer
  private let pace = WarningPace()

  package init(proxies: TrustedProxies, observer: Observer) {
    self.proxies = proxies
    self.observer = observer
  }

  package func handle(
    _ request: Request, context: AppRequestContext,
    next: @concurrent (Request, AppRequestContext) async throws -> Response
  ) async throws -> Response {
    var context = context
    let origin = proxies.origin(
      peer: context.clientAddress, forwarded: request.headers[values: proxies.header.name])
    context.clientAddress = origin.address
    if origin.isUnreadable { observer.observe(.forwardedUnreadable(isLogged: pace.isDue(at: .now))) }
    return try await next(request, context)
  }
}

/// Whether it is time for a warning again: what comes with every request is not logged with every one.
private final class WarningPace: Sendable {
  private static let interval: Duration = .seconds(60)
  private let next = Mutex<ContinuousClock.Instant?>(nil)

  func isDue(at now: ContinuousClock.Instant) -> Bool {
    next.withLock { next in
      if let next, now < next { return false }
      next = now + Self.interval
      return true
    }
  }
}
