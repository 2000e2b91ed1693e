/// Subject and text of a mail.
struct MailText: Sendable, Equatable {
  var subject: String
  var body: String

  /// `token` is not nil if the kind has one. A sign-up without a token is for an address that already has an account.
  /// Links lead to `portalURL`, with the token after `#`, which browsers do not send to servers, so it is in no log.
  init(_ kind: Mail.Kind, _ parameters: Mail.Parameters, token: Secret?, portalURL: String) {
    let quoted = Quoted(parameters)
    let link = token.flatMap { token in kind.purpose.map { Self.link($0, token, portalURL) } } ?? portalURL
    let paragraphs: [String]
    switch kind {
    case .passwordReset:
      subject = "Set a new password"
      paragraphs = [
        "Somebody, probably you, asked to set a new password for this address.", link,
        "Setting it ends all of your sessions. If it was not you, do nothing: your password stays as it is.",
      ]
    case .emailVerification:
      subject = "Confirm your e-mail address"
      paragraphs = ["Please confirm that mail to this address reaches you.", link]
    case .emailChange:
      subject = "Confirm your new e-mail address"
      paragraphs = [
        "Somebody, probably you, wants to log in with this address from now on. When you confirm it, the change takes"
          + " effect and all of their sessions end.", link, "If it was not you, do nothing.",
      ]
    case .signUp where token == nil:
      subject = "You have an account already"
      paragraphs = [
        "Somebody, probably you, signed up with this address, but it already has an account. Nothing was changed.",
        "Log in as usual, or ask for a new password if you have forgotten it:", link,
        "If it was not you, do nothing.",
      ]
    case .signUp:
      subject = "Confirm your e-mail address"
      paragraphs = [
        "Somebody, probably you, signed up with this address. The account is created when you confirm it.", link,
        "If it was not you, do nothing: no account is created.",
      ]
    case .invitation:
      subject = "You are invited to \(quoted.accountName)"
      paragraphs = [
        "\(quoted.actorName) invites you to the account \(quoted.accountName)"
          + (quoted.role.map { " as \($0)." } ?? "."), link, "If you do not know them, do nothing.",
      ]
    case .passwordChanged:
      subject = "Your password was changed"
      paragraphs = [
        "The password for this address was changed, and all other sessions were ended.",
        "If it was not you, ask for a new password immediately, and tell your account's owner:", link,
      ]
    case .emailChanged:
      subject = "Your e-mail address was changed"
      paragraphs = [
        "From now on you log in with another address.",
        "If it was not you, tell your account's owner and our staff immediately. The audit trail has the details:",
        link,
      ]
    case .keyCreated:
      subject = "New API key in \(quoted.accountName)"
      paragraphs = [
        "\(quoted.actorName) created an API key in the account \(quoted.accountName):", quoted.key,
        "If this was not intended, revoke it:", link,
      ]
    case .keyRevoked where parameters.isByHolder == true:
      subject = "API key revoked in \(quoted.accountName)"
      paragraphs = [
        "Somebody who has an API key of the account \(quoted.accountName) revoked it, with the key itself. Requests"
          + " with it are refused from now on.", quoted.key,
        "If it was nobody of yours, the key was known to a stranger. The account's audit trail has the details:", link,
      ]
    case .keyRevoked:
      subject = "API key revoked in \(quoted.accountName)"
      paragraphs = [
        "Our staff (\(quoted.actorName)) revoked an API key of the account \(quoted.accountName). Requests with it are"
          + " refused from now on.", quoted.key, quoted.reasons, "The account's audit trail has the details:", link,
      ]
    case .keysRevoked where parameters.isPartial == true:
      subject = "API keys revoked in \(quoted.accountName)"
      paragraphs = [
        "Our staff (\(quoted.staff)) revoked \(quoted.keyCount) of the account \(quoted.accountName). Requests with"
          + " them are refused from now on.", quoted.reasons, "The account's audit trail has the details:", link,
      ]
    case .keysRevoked:
      subject = "All API keys revoked in \(quoted.accountName)"
      paragraphs = [
        "Our staff (\(quoted.staff)) revoked all API keys of the account \(quoted.accountName):"
          + " \(quoted.keyCount). Requests with them are refused from now on.", quoted.reasons,
        "The account's audit trail has the details:", link,
      ]
    case .keyExpiring:
      subject = "API key expires soon in \(quoted.accountName)"
      paragraphs = [
        "An API key of the account \(quoted.accountName) expires on \(quoted.expiresAt). Requests with it are refused"
          + " from then on.", quoted.key, "Roll it, or create another, before that:", link,
      ]
    case .accountSuspended:
      subject = "Account suspended: \(quoted.accountName)"
      paragraphs = [
        "Our staff (\(quoted.actorName)) suspended the account \(quoted.accountName). Requests with its keys are"
          + " refused until it is resumed.", quoted.reasons, "The account's audit trail has the details:", link,
      ]
    case .accountDeleted:
      subject = "Account deleted: \(quoted.accountName)"
      paragraphs = [
        "\(quoted.actorName) deleted the account \(quoted.accountName). Its keys are revoked, and nobody can"
          + " log in to it any more.", "This cannot be undone. If it was not intended, tell our staff:", link,
      ]
    case .accountResumed:
      subject = "Account resumed: \(quoted.accountName)"
      paragraphs = [
        "Our staff (\(quoted.actorName)) resumed the account \(quoted.accountName). Its keys work as before the"
          + " suspension.", quoted.reasons, "The account's audit trail has the details:", link,
      ]
    }
    let greeting = ["Hello,"]
    body = (greeting + paragraphs + Self.hint(kind, token)).joined(separator: "\n\n") + "\n"
  }

  private static func link(_ purpose: OneTimeToken.Purpose, _ token: Secret, _ portalURL: String) -> String {
    portalURL + purpose.path + "#" + token.reveal()
  }

  /// The bare token, for portals without a page that accepts the link.
  private static func hint(_ kind: Mail.Kind, _ token: Secret?) -> [String] {
    guard let token, let purpose = kind.purpose else { return [] }
    return [
      "It works once, within \(purpose.lifetimeText). Where you are asked for a code, it is:", token.reveal(),
    ]
  }
}

/// Text that customers and staff wrote, kept on one line: a name must not look like a sentence of the portal.
private struct Quoted {
  private let parameters: Mail.Parameters

  init(_ parameters: Mail.Parameters) { self.parameters = parameters }

  var accountName: String { Self.clean(parameters.accountName ?? "your account") }
  var actorName: String { Self.clean(parameters.actorName ?? "somebody") }
  /// The actor and, if that is another person, the requester.
  var staff: String { actorName + (parameters.requesterName.map { ", as requested by \(Self.clean($0))" } ?? "") }
  var keyCount: String { parameters.keyCount.map { $0 == 1 ? "1 key" : "\($0) keys" } ?? "all of them" }
  var expiresAt: String { Self.clean(parameters.expiresAt ?? "its date") }
  var role: String? { parameters.role.map(Self.clean) }

  var key: String {
    "  Name:   \(Self.clean(parameters.keyName ?? ""))\n  Begins: \(Self.clean(parameters.keyStart ?? "unknown"))"
  }

  var reasons: String {
    let ticket = parameters.ticket.map { "\n  Ticket: " + Self.clean($0) } ?? ""
    return "  Reason: \(Self.clean(parameters.reason ?? "none given"))" + ticket
  }

  /// Replaces line breaks, control characters, and format characters, which can change the direction of text.
  private static func clean(_ text: String) -> String {
    String(
      String.UnicodeScalarView(
        text.unicodeScalars.map { scalar in
          switch scalar.properties.generalCategory {
          case .control, .lineSeparator, .paragraphSeparator, .format: " "
          default: scalar
          }
        }))
  }
}
