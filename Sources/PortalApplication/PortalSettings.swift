package import Portal
package import PortalAPI
package import PortalHTTP

/// How a portal is to behave; plain values, whatever they were read from.
package struct PortalSettings: Sendable {
  package var keyFormat: KeyFormat
  package var cookie: SessionCookie
  package var trustedProxies = TrustedProxies.none
  package var crossOrigins = CrossOrigins.none
  /// Where `/v1/authorize` looks for keys.
  package var keyPlaces = KeyPlaces.standard
  /// Event loops that serve connections; nil for one a processor.
  package var httpThreadCount: Int?
  /// Where to listen instead of at an address.
  package var socket: SocketFile?
  /// What connections are encrypted with, but for those to the port of health and metrics; nil: they are not.
  package var tls: ServerTLS?
  /// HTTP connections at most; of more, the most idle are closed.
  package var connectionCountMax = DescriptorBudget.connectionCountStandard
  /// How long the client of a connection may take.
  package var connectionTimeouts = ConnectionTimeouts()
  /// How the process's descriptors are divided; nil: nobody is warned that they are few.
  package var descriptors: DescriptorBudget?
  package var requestsPerMinute = RequestLimits.PerMinute()
  package var isSignupOpen = false
  /// What `/metrics` takes; nil: it opens to everybody who reaches it.
  package var metricsToken: Secret?
  /// How long an instance may answer from its cache without hearing from the database.
  package var lease: Duration = .seconds(2)
  package var cacheEntryCountMax = 200_000
  /// Keys that are read into the cache before the server takes requests, those that were used last.
  package var cachePreloadCount = 0
  /// Whether verifications are answered before the HTTP decoder where that can be.
  package var hasFastPath = true
  package var sessionLifetime: Duration = .seconds(30 * 86_400)
  package var passwordCost = ScryptCost.standard
  package var passwordThreadCount = 2
  /// Encrypts second factors; nil: nobody can set one up.
  package var secretBox: SecretBox?
  package var needsStaffSecondFactor = false
  /// How long revoking waits for the other instances.
  package var propagationTimeout: Duration = .seconds(1)
  package var listenerURL: String?
  /// The folder that keeps counters until they are written; nil: memory alone does.
  package var usageSpool: String?
  /// How long counters that were written are kept, in case the database loses them in a failover.
  package var usageKeptFor: Duration = .seconds(60)
  package var instanceName = "latchkey"
  package var retention = Retention()
  /// Nil: no mail is sent.
  package var mail: MailSettings?
  /// Migrations that the database should have.
  package var migrationCount: Int

  package init(keyFormat: KeyFormat, cookie: SessionCookie, migrationCount: Int) {
    self.keyFormat = keyFormat
    self.cookie = cookie
    self.migrationCount = migrationCount
  }
}
