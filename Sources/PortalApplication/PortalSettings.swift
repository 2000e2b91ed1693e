package import Portal
package import PortalAPI
package import PortalHTTP

/// The configuration of a portal, as plain values, independent of where they were read from.
package struct PortalSettings: Sendable {
  package var keyFormat: KeyFormat
  package var cookie: SessionCookie
  package var trustedProxies = TrustedProxies.none
  package var crossOrigins = CrossOrigins.none
  /// Where `/v1/authorize` looks for keys.
  package var keyPlaces = KeyPlaces.standard
  /// Event loops that serve connections; nil for one per processor.
  package var httpThreadCount: Int?
  /// The socket to listen on instead of an address.
  package var socket: SocketFile?
  /// The certificate for connections, except those to the port of health and metrics; nil: no TLS.
  package var tls: ServerTLS?
  /// The most HTTP connections. Beyond that, the most idle ones are closed.
  package var connectionCountMax = DescriptorBudget.connectionCountStandard
  /// How long the client of a connection may take.
  package var connectionTimeouts = ConnectionTimeouts()
  /// How the process's descriptors are divided; nil: no warning if there are few.
  package var descriptors: DescriptorBudget?
  package var requestsPerMinute = RequestLimits.PerMinute()
  package var isSignupOpen = false
  /// The token that `/metrics` requires; nil: no authentication.
  package var metricsToken: Secret?
  /// How long an instance may answer from its cache without hearing from the database.
  package var lease: Duration = .seconds(2)
  package var cacheEntryCountMax = 200_000
  /// The number of keys to read into the cache before the server takes requests, most recently used first.
  package var cachePreloadCount = 0
  /// Whether verifications are answered before the HTTP decoder if possible.
  package var hasFastPath = true
  package var sessionLifetime: Duration = .seconds(30 * 86_400)
  package var passwordCost = ScryptCost.standard
  package var passwordThreadCount = 2
  /// Encrypts second factors; nil: nobody can set one up.
  package var secretBox: SecretBox?
  package var needsStaffSecondFactor = false
  /// How long a revocation waits for the other instances.
  package var propagationTimeout: Duration = .seconds(1)
  package var listenerURL: String?
  /// The folder that holds usage counters until they are written to the database, and says what was spent of credits;
  /// nil: both are only in memory.
  package var usageSpool: String?
  /// How long counters are kept after they were written, in case the database loses them in a failover.
  package var usageKeptFor: Duration = .seconds(60)
  /// The longest time for which counters are gathered before they are written.
  package var usageGatheredMax: Duration = .seconds(10)
  package var instanceName = "latchkey"
  package var retention = Retention()
  /// Nil: no mail is sent.
  package var mail: MailSettings?
  /// The number of migrations that the database should have.
  package var migrationCount = 0

  package init(keyFormat: KeyFormat, cookie: SessionCookie) {
    self.keyFormat = keyFormat
    self.cookie = cookie
  }
}
