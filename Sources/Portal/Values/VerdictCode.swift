/// The results of a verification, in the order in which they apply.
package enum VerdictCode: String, Sendable, CaseIterable {
  case valid = "VALID"
  case missingKey = "MISSING_KEY"
  case notFound = "NOT_FOUND"
  case revoked = "REVOKED"
  case suspended = "SUSPENDED"
  case disabled = "DISABLED"
  case expired = "EXPIRED"
  case forbiddenAddress = "FORBIDDEN_ADDRESS"
  case insufficientScope = "INSUFFICIENT_SCOPE"
  case insufficientPermissions = "INSUFFICIENT_PERMISSIONS"
  case rateLimited = "RATE_LIMITED"
  case usageExceeded = "USAGE_EXCEEDED"
}
