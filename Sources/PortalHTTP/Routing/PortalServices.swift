package import Portal

/// The services that the routes use.
package struct PortalServices: Sendable {
  package var accounts: Accounts
  package var managedAccounts: ManagedAccounts
  package var members: Members
  package var invitations: Invitations
  package var sessions: Sessions
  package var credentials: Credentials
  package var keys: Keys
  package var idempotency: Idempotency
  package var policies: KeyPolicies
  package var plans: Plans
  package var apis: CatalogAPIs
  package var permissions: CatalogPermissions
  package var roles: CatalogRoles
  package var grants: Grants
  package var credits: Credits
  package var verifier: Verifier
  package var heldKeys: HeldKeys
  package var tokens: ServiceTokenVerifier
  package var serviceTokens: ServiceTokens
  package var usages: Usages
  package var analytics: Analytics
  package var audit: AuditEvents
  package var desk: SupportDesk
  package var explanations: Explanations
  package var staff: StaffMembers
  package var deletion: AccountDeletion
  package var exports: PersonExports
  package var erasures: PersonErasures
  package var readiness: Readiness
  package var standaloneLimits: StandaloneLimits
  package var namespaces: LimitNamespaces
  package var overrides: NamespaceOverrides
  package var keyMoves: KeyMoves
  package var keyImports: KeyImports
  package var keyExports: KeyExports

  package init(
    accounts: Accounts, managedAccounts: ManagedAccounts, members: Members, invitations: Invitations,
    sessions: Sessions, credentials: Credentials, keys: Keys, idempotency: Idempotency, policies: KeyPolicies,
    plans: Plans, apis: CatalogAPIs, permissions: CatalogPermissions, roles: CatalogRoles, grants: Grants,
    credits: Credits, verifier: Verifier, heldKeys: HeldKeys,
    tokens: ServiceTokenVerifier, serviceTokens: ServiceTokens, usages: Usages, analytics: Analytics,
    audit: AuditEvents,
    desk: SupportDesk, explanations: Explanations, staff: StaffMembers, deletion: AccountDeletion,
    exports: PersonExports, erasures: PersonErasures, readiness: Readiness, standaloneLimits: StandaloneLimits,
    namespaces: LimitNamespaces, overrides: NamespaceOverrides, keyMoves: KeyMoves,
    keyImports: KeyImports, keyExports: KeyExports
  ) {
    self.accounts = accounts
    self.managedAccounts = managedAccounts
    self.members = members
    self.invitations = invitations
    self.sessions = sessions
    self.credentials = credentials
    self.keys = keys
    self.idempotency = idempotency
    self.policies = policies
    self.plans = plans
    self.apis = apis
    self.permissions = permissions
    self.roles = roles
    self.grants = grants
    self.credits = credits
    self.verifier = verifier
    self.heldKeys = heldKeys
    self.tokens = tokens
    self.serviceTokens = serviceTokens
    self.usages = usages
    self.analytics = analytics
    self.audit = audit
    self.desk = desk
    self.explanations = explanations
    self.staff = staff
    self.deletion = deletion
    self.exports = exports
    self.erasures = erasures
    self.readiness = readiness
    self.standaloneLimits = standaloneLimits
    self.namespaces = namespaces
    self.overrides = overrides
    self.keyMoves = keyMoves
    self.keyImports = keyImports
    self.keyExports = keyExports
  }
}
