package import Portal

/// The fields of keys in the words of the pages.
package enum FieldWords {
  package static func label(_ field: FieldProblem.Field) -> String {
    switch field {
    case .scopes: "The scopes"
    case .scope: "A scope"
    case .rateLimitPerMinute: "The number of requests per minute"
    case .expiresAt: "The time of expiry"
    case .allowedIPs: "The list of allowed addresses"
    case .environment: "The environment"
    case .email: "The address"
    case .password: "The password"
    case .plan: "The plan"
    case .api, .apiIDs, .apiID: "The API"
    case .permission: "A permission"
    case .adding, .added: "What is added"
    case .removed: "What is removed"
    case .role: "The role"
    case .account, .externalID: "The account"
    case .row(_, let field): label(field)
    case .hash, .salted: "The hash"
    case .at: "The time"
    case .key: "The key"
    case .resources, .resource: "The resources"
    case .roleID: "A role"
    case .creditValue: "The number of credits"
    }
  }
}
