import HTTPTypes
import Portal
import PortalHTTP
import PortalViews

extension ProblemPage {
  /// The words for a problem. `requestID` is shown where the operator may have to look for the request.
  init(_ problem: Problem, requestID: String) {
    let seconds = problem.headers[.retryAfter].flatMap { Int($0) }
    let wait = seconds.map { "Wait for \(Counted.seconds($0)), and try again." } ?? "Wait a while, and try again."
    let home: HTML = "<a href=\"/overview\">To the overview</a>"
    switch problem.code {
    case .notFound:
      self.init(
        "There is nothing here", "The address may be mistyped, or what was here is gone or belongs to another account.",
        next: home)
    case .methodNotAllowed:
      self.init("This page cannot be used like that", "Go back, reload the page, and send its form again.", next: home)
    case .forbidden:
      self.init("You may not do this", problem.detail, next: "Ask an owner of the account. \(home)")
    case .originNotAllowed:
      self.init(
        "The form came from elsewhere",
        "Nothing has been changed. \(problem.detail) This keeps other sites from acting in your name.",
        next: "Open the portal at its own address, and send the form there.")
    case .tooManyRequests:
      self.init(
        "Too many attempts", "To keep others from guessing, attempts are limited. Nothing has been changed.",
        next: "\(wait)")
    case .rateLimited, .accountBusy:
      self.init(
        "Too many requests", "More pages were asked for than can be served. Nothing has been changed.",
        next: "\(wait)")
    case .keyNotActive:
      self.init(
        "The key has ended", "It is revoked, expired, disabled or rolled, so this can no longer be done with it.",
        next: "<a href=\"/keys\">To the keys</a>")
    case .keyCapReached, .lastOwner, .inUse, .mailNotConfigured, .emailTaken, .alreadyMember:
      self.init("This is not possible", problem.detail, next: home)
    case .bodyTooLarge, .unsupportedMediaType, .unsupportedContentCoding, .invalidRequest, .idempotencyConflict:
      self.init("The form could not be read", "Nothing has been changed.", next: "Go back, and send the form again.")
    case .outcomeUnknown:
      self.init(
        "It is not known whether that was done", "The connection to the database was lost at the wrong moment.",
        next: "Look at the page again before you repeat it. \(home)", requestID: requestID)
    case .unavailable:
      self.init(
        "The portal cannot answer now", "Nothing has been changed. API keys are checked separately.", next: "\(wait)",
        requestID: requestID)
    default:
      if problem.status.code >= 500 {
        self.init(
          "The portal has failed", "This is not your fault. The log of the server has the reason.",
          next: "Tell the operator of the portal the number below.", requestID: requestID)
      } else {
        self.init("This is not possible", problem.detail, next: home)
      }
    }
  }
}
