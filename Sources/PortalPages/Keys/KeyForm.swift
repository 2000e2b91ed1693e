import Foundation
import JSON
import Portal
import PortalViews

/// The settings of keys, as their form has them.
extension FormFields {
  private static let presets = [30, 90, 365]

  /// The settings of a new key; nil if something is wrong.
  mutating func keySettings(at now: Date) -> KeySettings? {
    let name = keyName()
    let environment: Key.Environment? = choice("environment", "Choose an environment.")
    let scopes = scopes(required: true)
    let expiry = expiry(at: now)
    let rate = rateLimitPerMinute()
    let (addresses, tags, description) = (allowedIPs(), keyTags(), keyDescription())
    guard isGood, let name, let environment, let scopes, let expiry, let rate, let addresses, let tags, let description
    else { return nil }
    var settings = KeySettings(
      name: name, environment: environment, scopes: scopes, rateLimitPerMinute: rate,
      allowedIPs: addresses.isEmpty ? nil : addresses, description: description.isEmpty ? nil : description,
      tags: tags)
    if case .set(let date) = expiry { settings.expiresAt = date }
    return settings
  }

  /// The changes to a key; nil if something is wrong. What a key has already is no problem: a backend may have given
  /// it what a customer may not choose.
  mutating func keyChanges(of key: Key, at now: Date) -> KeyChanges? {
    let name = keyName()
    let scopes = scopes(required: !key.scopes.isEmpty)
    let expiry = expiry(at: now)
    let keepsNoRate = key.rateLimitPerMinute == nil && TypedText.trimmed(text("rateLimitPerMinute")).isEmpty
    let rate = keepsNoRate ? nil : rateLimitPerMinute()
    let (addresses, tags, description) = (allowedIPs(), keyTags(), keyDescription())
    guard isGood, let name, let scopes, let expiry, let addresses, let tags, let description else { return nil }
    return KeyChanges(
      name: name, scopes: scopes, rateLimitPerMinute: rate.map { .set($0) } ?? .keep,
      allowedIPs: addresses.isEmpty ? .remove : .set(addresses), expiresAt: expiry,
      description: description.isEmpty ? .remove : .set(description), tags: tags)
  }

  private mutating func keyName() -> String? {
    line("name", 1...Key.nameLengthMax, "Enter a name of 1 to \(Key.nameLengthMax) characters.")
  }

  private mutating func scopes(required: Bool) -> [String]? {
    let scopes = words("scopes")
    if scopes.isEmpty, required {
      refuse("scopes", "Enter at least one scope, such as orders:read.")
    } else if scopes.count > Scope.countMax {
      refuse("scopes", "Enter at most \(Scope.countMax) scopes.")
    } else if let wrong = scopes.first(where: { !Scope.isValid($0) }) {
      refuse(
        "scopes",
        "“\(wrong.shortened())” is not a scope. A scope has lower-case letters, digits and :._*- and begins with a "
          + "letter or a digit.")
    } else {
      return scopes
    }
    return nil
  }

  /// Nil after a problem.
  private mutating func expiry(at now: Date) -> OptionalChange<Date>? {
    let (choice, day) = (text("expires"), TypedText.trimmed(text("expiresOn")))
    switch choice {
    case "keep": return .keep
    case "never": return .remove
    case "on":
      guard let day = Timestamp.day(from: day), let end = Timestamp.date(from: "\(day.advanced(by: 1))T00:00:00Z")
      else {
        refuse("expiresOn", "Choose a day.")
        return nil
      }
      guard end > now else {
        refuse("expiresOn", "Choose a day that is not over yet.")
        return nil
      }
      return .set(end)
    default:
      guard let days = Self.presets.first(where: { choice == "\($0)" }) else {
        refuse("expires", "Choose when the key expires.")
        return nil
      }
      return .set(now.adding(days: days))
    }
  }

  private mutating func rateLimitPerMinute() -> Int? {
    integer(
      "rateLimitPerMinute", 1...Key.rateLimitPerMinuteMax,
      "Enter a whole number from 1 to \(Key.rateLimitPerMinuteMax), without commas.")
  }

  private mutating func allowedIPs() -> [AddressBlock]? {
    let texts = words("allowedIPs")
    guard texts.count <= AddressBlock.countMax else {
      refuse("allowedIPs", "Enter at most \(AddressBlock.countMax) addresses.")
      return nil
    }
    var blocks: [AddressBlock] = []
    for text in texts {
      guard let block = AddressBlock(text) else {
        refuse("allowedIPs", "“\(text.shortened())” is not an address or a block of addresses.")
        return nil
      }
      blocks.append(block)
    }
    return blocks
  }

  private mutating func keyTags() -> [String]? {
    let tags = words("tags")
    if tags.count > KeyTag.countMax {
      refuse("tags", "Enter at most \(KeyTag.countMax) tags.")
    } else if let wrong = tags.first(where: { !KeyTag.isValid($0) }) {
      refuse(
        "tags",
        "“\(wrong.shortened())” is not a tag. A tag has up to \(KeyTag.lengthMax) lower-case letters, digits and :._- "
          + "and begins with a letter or a digit.")
    } else if Set(tags).count < tags.count {
      refuse("tags", "Enter each tag once.")
    } else {
      return tags
    }
    return nil
  }

  private mutating func keyDescription() -> String? {
    lines(
      "description", max: Key.descriptionLengthMax,
      "Enter a description of at most \(Key.descriptionLengthMax) characters.")
  }
}

extension FormState {
  /// The form of a new key as it is at first.
  static func newKey(_ plan: Plan) -> FormState {
    let most = min(plan.rateLimitPerMinuteMax ?? Key.rateLimitPerMinuteMax, Key.rateLimitPerMinuteMax)
    let days = plan.maxKeyLifetimeDays ?? .max
    return FormState([
      "environment": "live", "expires": days >= 90 ? "90" : days >= 30 ? "30" : "on",
      "rateLimitPerMinute": "\(min(Key.rateLimitPerMinuteDefault, most))", "once": Self.newOnce,
    ])
  }

  /// The settings of a key.
  init(of key: Key) {
    self.init([
      "name": key.name, "scopes": key.scopes.joined(separator: "\n"), "expires": "keep",
      "rateLimitPerMinute": key.rateLimitPerMinute.map { "\($0)" } ?? "",
      "allowedIPs": (key.allowedIPs ?? []).map(\.description).joined(separator: "\n"),
      "tags": key.tags.joined(separator: " "), "description": key.description ?? "", "revision": "\(key.revision)",
    ])
  }

  /// By which a repeat of a form is recognized.
  static var newOnce: String { UUID().uuidString.lowercased() }
}
