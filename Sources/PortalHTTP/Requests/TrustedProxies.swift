import Foundation
import HTTPTypes
import Hummingbird
import Portal
import Synchronization

/// The proxies that are trusted to report where a request comes from.
///
/// Anybody can send `X-Forwarded-For`, and each proxy on the way adds the address that it saw at the right end. So what
/// a trusted proxy added is true, and anything to the left of the first address that is not a trusted proxy's is not
/// reliable.
package struct TrustedProxies: Sendable, Equatable {
  package static let none = TrustedProxies(blocks: [])
  /// The most elements of a header that are read, from the right. No chain of proxies is that long.
  private static let hopCountMax = 32

  private let blocks: [AddressBlock]
  /// The header in which they report it.
  package var header = ForwardedHeader.xForwardedFor
  /// Whether peers without an address are trusted: programs on this machine that may write to the server's Unix socket.
  package var includesSocketPeers = false

  /// The origin of a request.
  package struct Origin: Sendable, Equatable {
    /// Nil without a socket.
    package var address: String?
    /// Whether a trusted proxy reported something other than an address, so that `address` is the proxy's.
    package var isUnreadable: Bool

    package init(address: String?, isUnreadable: Bool = false) {
      self.address = address
      self.isUnreadable = isUnreadable
    }
  }

  /// Parses addresses and CIDR blocks separated by commas; nil if an element is neither.
  package init?(_ text: String) {
    let parts = text.split(separator: ",", omittingEmptySubsequences: false).map {
      $0.trimmingCharacters(in: .whitespaces)
    }
    let blocks = parts == [""] ? [] : parts.map { AddressBlock($0) }
    guard blocks.allSatisfy({ $0 != nil }) else { return nil }
    self.blocks = blocks.compactMap { $0 }
  }

  private init(blocks: [AddressBlock]) { self.blocks = blocks }

  /// The nearest address that is not a trusted proxy's, searching `forwarded`, the values of ``header``, from the
  /// right. If the search ends before that, at the left end or at an element without an address: the farthest trusted
  /// one.
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

  /// Whether the peer of a connection is a trusted proxy.
  func isTrusted(peer: String?) -> Bool {
    guard let peer else { return includesSocketPeers }
    guard !blocks.isEmpty, let address = AddressBlock(peer) else { return false }
    return isTrusted(address)
  }

  private func isTrusted(_ address: AddressBlock) -> Bool { blocks.contains { $0.contains(address) } }
}

/// Determines the client's address. Everything that counts, limits or records addresses uses the context's.
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

/// Limits how often a warning is logged when its cause may come with every request.
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
