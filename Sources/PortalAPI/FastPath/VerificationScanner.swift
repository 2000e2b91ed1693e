import JSON
import Portal
import PortalHTTP

/// Reads the bodies of the hot routes in place: an object with documented members only, in plain ASCII without escapes.
/// Returns nil for anything else, which `JSONParser` and `RequestFields` judge. They would read whatever is read here
/// in the same way, with one exception: here a key that is not well-formed has a hash, unless no key has its length.
struct VerificationScanner {
  private var position: Int
  private let end: Int

  private init(_ range: Range<Int>) {
    position = range.lowerBound
    end = range.upperBound
  }

  /// A question, and the range of its key.
  typealias Asked = (request: VerificationRequest, key: Range<Int>)

  /// `{"key": …}`
  static func request(_ bytes: Span<UInt8>, _ range: Range<Int>) -> Asked? {
    var scanner = VerificationScanner(range)
    guard let asked = scanner.request(bytes), scanner.isAtEnd(bytes) else { return nil }
    return asked
  }

  /// `{"requests": [{"key": …}, …]}`
  static func requests(_ bytes: Span<UInt8>, _ range: Range<Int>) -> (
    requests: [VerificationRequest], keys: [Range<Int>]
  )? {
    var scanner = VerificationScanner(range)
    var (requests, keys): ([VerificationRequest], [Range<Int>]) = ([], [])
    guard scanner.take("{", bytes), let name = scanner.string(bytes), bytes.holds("requests", at: name),
      scanner.take(":", bytes), scanner.take("[", bytes)
    else { return nil }
    repeat {
      guard requests.count < VerificationController.batchCountMax, let asked = scanner.request(bytes) else {
        return nil
      }
      requests.append(asked.request)
      keys.append(asked.key)
    } while scanner.take(",", bytes)
    guard scanner.take("]", bytes), scanner.take("}", bytes), scanner.isAtEnd(bytes) else { return nil }
    return (requests, keys)
  }

  // MARK: Objects

  private struct Members {
    var key: Range<Int>?
    var scope: String?
    var scopes: [String]?
    var clientIP: AddressBlock?
    var endpoint: Range<Int>?
    var cost: Int?
    var api: CatalogReference?
    var permissions: PermissionQuery?
    var resource: String?
    var match: ScopeMatch?
    var creditCost: Int?
  }

  private mutating func request(_ bytes: Span<UInt8>) -> Asked? {
    var members = Members()
    guard take("{", bytes) else { return nil }
    repeat {
      guard let name = string(bytes), take(":", bytes), member(name, &members, bytes) else { return nil }
    } while take(",", bytes)
    guard take("}", bytes), let key = members.key else { return nil }
    var scopes = members.scopes ?? []
    if let scope = members.scope { scopes.append(scope) }
    if members.resource != nil, scopes.isEmpty { return nil }
    let isKey = (1...KeyFormat.lengthMax).contains(key.count)
    let request = VerificationRequest(
      hash: isKey ? SecretHash(of: bytes.extracting(key)) : nil, scopes: scopes, clientIP: members.clientIP,
      endpoint: members.endpoint.map { bytes.text($0) } ?? VerificationRequest.endpointDefault,
      cost: members.cost ?? 1, api: members.api, permissions: members.permissions, resource: members.resource,
      match: members.match ?? .all, creditCost: members.creditCost ?? 1)
    return (request, key)
  }

  /// Returns false for a member that is unknown, repeated or invalid.
  private mutating func member(_ name: Range<Int>, _ members: inout Members, _ bytes: Span<UInt8>) -> Bool {
    if bytes.holds("key", at: name), members.key == nil {
      members.key = string(bytes)
      return members.key != nil
    }
    if bytes.holds("endpoint", at: name), members.endpoint == nil {
      members.endpoint = string(bytes)
      return (1...VerificationRequest.endpointLengthMax).contains(members.endpoint?.count ?? 0)
    }
    if bytes.holds("scope", at: name), members.scope == nil {
      members.scope = scope(bytes)
      return members.scope != nil
    }
    if bytes.holds("scopes", at: name), members.scopes == nil {
      members.scopes = scopes(bytes)
      return members.scopes != nil
    }
    if bytes.holds("clientIP", at: name), members.clientIP == nil, let text = string(bytes), text.count <= 64 {
      members.clientIP = AddressBlock(bytes.text(text))
      return members.clientIP?.isSingleAddress == true
    }
    if bytes.holds("cost", at: name), members.cost == nil {
      members.cost = number(bytes, digitCountMax: 4)
      return (1...VerificationRequest.costMax).contains(members.cost ?? 0)
    }
    if bytes.holds("api", at: name), members.api == nil, let text = string(bytes) {
      members.api = text.count <= CatalogName.lengthMax ? CatalogReference(bytes.text(text)) : nil
      return members.api != nil
    }
    if bytes.holds("permissions", at: name), members.permissions == nil, let text = string(bytes) {
      members.permissions = text.count <= PermissionQuery.lengthMax ? try? PermissionQuery(bytes.text(text)) : nil
      return members.permissions != nil
    }
    if bytes.holds("resource", at: name), members.resource == nil, let text = string(bytes) {
      members.resource = text.count <= ResourceScopes.nameLengthMax ? bytes.text(text) : nil
      return members.resource.map { ResourceScopes.isValid(name: $0) } ?? false
    }
    if bytes.holds("match", at: name), members.match == nil, let text = string(bytes) {
      members.match = ScopeMatch(named: bytes.text(text))
      return members.match != nil
    }
    if bytes.holds("credits", at: name), members.creditCost == nil {
      members.creditCost = creditCost(bytes)
      return (0...VerificationRequest.creditCostMax).contains(members.creditCost ?? -1)
    }
    return false
  }

  /// `{"cost": …}`
  private mutating func creditCost(_ bytes: Span<UInt8>) -> Int? {
    guard take("{", bytes), let name = string(bytes), bytes.holds("cost", at: name), take(":", bytes),
      let cost = number(bytes, digitCountMax: 7), take("}", bytes)
    else { return nil }
    return cost
  }

  private mutating func scopes(_ bytes: Span<UInt8>) -> [String]? {
    guard take("[", bytes) else { return nil }
    if take("]", bytes) { return [] }
    var scopes: [String] = []
    repeat {
      guard scopes.count < Scope.countMax, let scope = scope(bytes) else { return nil }
      scopes.append(scope)
    } while take(",", bytes)
    return take("]", bytes) ? scopes : nil
  }

  private mutating func scope(_ bytes: Span<UInt8>) -> String? {
    guard let place = string(bytes), place.count <= Scope.lengthMax else { return nil }
    let text = bytes.text(place)
    return Scope.isValid(text) ? text : nil
  }

  // MARK: Tokens

  private mutating func skipSpace(_ bytes: Span<UInt8>) {
    while position < end {
      switch bytes[position] {
      case UInt8(ascii: " "), UInt8(ascii: "\n"), UInt8(ascii: "\r"), UInt8(ascii: "\t"): position += 1
      default: return
      }
    }
  }

  private mutating func take(_ character: Unicode.Scalar, _ bytes: Span<UInt8>) -> Bool {
    skipSpace(bytes)
    guard position < end, bytes[position] == UInt8(ascii: character) else { return false }
    position += 1
    return true
  }

  private mutating func isAtEnd(_ bytes: Span<UInt8>) -> Bool {
    skipSpace(bytes)
    return position == end
  }

  /// The range of a string's characters, if they are ASCII and none is escaped.
  private mutating func string(_ bytes: Span<UInt8>) -> Range<Int>? {
    guard take("\"", bytes) else { return nil }
    let start = position
    while position < end {
      switch bytes[position] {
      case UInt8(ascii: "\""):
        defer { position += 1 }
        return start..<position
      case UInt8(ascii: "\\"), 0..<0x20, 0x80...: return nil
      default: position += 1
      }
    }
    return nil
  }

  /// A whole number without a sign, of a few digits.
  private mutating func number(_ bytes: Span<UInt8>, digitCountMax: Int) -> Int? {
    skipSpace(bytes)
    let start = position
    var number = 0
    while position < end, (0x30...0x39).contains(bytes[position]), position - start <= digitCountMax {
      number = number * 10 + Int(bytes[position] - 0x30)
      position += 1
    }
    // The caller rejects a fraction or an exponent, because it expects a comma or a brace.
    guard (1...digitCountMax).contains(position - start), bytes[start] != UInt8(ascii: "0") || position == start + 1
    else { return nil }
    return number
  }
}
