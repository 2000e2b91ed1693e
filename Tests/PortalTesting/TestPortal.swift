package import Foundation
package import HTTPTypes
import Hummingbird
package import HummingbirdTesting
package import JSON
import Logging
package import Portal
package import PortalApplication
package import PortalHTTP
package import Postgres
import PostgresTesting

/// A running portal with its own database, and shortcuts for the setup of tests.
package struct TestPortal: Sendable {
  package let application: PortalApplication
  package let client: any TestClientProtocol
  /// The tests' own pool, which is not subject to row security.
  package let pool: PostgresPool
  package let database: TestDatabase
  package let observations: Observations
  let keptLog: KeptLog.Storage

  /// The log so far, one line per message, with its level first.
  package var log: [String] { keptLog.lines }
  package var services: PortalServices { application.services }
}

/// Whether requests go directly to the router or through a real socket.
package enum TestTransport {
  case router, live
}

/// Runs `body` with a portal.
package func withPortal(
  _ transport: TestTransport = .router, on given: TestDatabase? = nil, analytics: TestDatabase? = nil,
  configure: (inout PortalSettings) -> Void = { _ in }, _ body: @escaping @Sendable (TestPortal) async throws -> Void
) async throws {
  guard let given else {
    return try await withDatabase {
      try await withPortal(transport, on: $0, analytics: analytics, configure: configure, body)
    }
  }
  guard let format = KeyFormat(prefix: "lk"), let cookie = SessionCookie(publicURL: "http://127.0.0.1:8080") else {
    throw TestSetupError(description: "the test settings are wrong")
  }
  var settings = PortalSettings(keyFormat: format, cookie: cookie)
  settings.migrationCount = try Migrations.embedded().files.count
  settings.isSignupOpen = true
  settings.requestsPerMinute = .none
  settings.passwordCost = ScryptCost(logN: 10, r: 8, p: 1)
  settings.propagationTimeout = muchTooLong
  configure(&settings)
  let observations = Observations()
  let application = PortalApplication(
    settings, database: given.configuration, analyticsDatabase: analytics?.configuration,
    observer: Observer([observations.sink]))
  let log = KeptLog.Storage()
  let logger = Logger(label: "test") { _ in KeptLog(log) }
  let server = application.makeServer(address: .hostname("127.0.0.1", port: 0), logger: logger)
  try await PostgresPool.with(given.configuration) { pool in
    try await server.test(transport == .live ? .live : .router) { plainClient in
      let client: any TestClientProtocol =
        if let log = ExchangeLog.shared {
          RecordingClient(client: plainClient, table: application.table, log: log)
        } else {
          plainClient
        }
      try await body(
        TestPortal(
          application: application, client: client, pool: pool, database: given, observations: observations,
          keptLog: log))
      try await given.sweep.check(
        client.execute(uri: "/metrics", method: .get) { String(buffer: $0.body) }, "the metrics page")
    }
  }
  try given.sweep.check(log.text, "the log")
  try given.sweep.check(observations.text, "the list of observations")
}

/// A response with parsed JSON.
package struct TestAnswer: Sendable {
  package var status: Int
  package var headers: HTTPFields
  package var body: JSONValue

  /// The problem's code, if the response is a problem.
  package var code: String? { body["code"].string }

  package func header(_ name: String) -> String? {
    HTTPField.Name(name).flatMap { headers[$0] }
  }
}

extension JSONValue {
  /// A member, `.null` if there is none.
  package subscript(_ name: String) -> JSONValue {
    guard case .object(let members) = self else { return .null }
    return members.first { $0.name == name }?.value ?? .null
  }

  package subscript(_ index: Int) -> JSONValue {
    guard case .array(let elements) = self, elements.indices.contains(index) else { return .null }
    return elements[index]
  }

  package var string: String? {
    if case .string(let text) = self { text } else { nil }
  }

  package var array: [JSONValue] {
    if case .array(let elements) = self { elements } else { [] }
  }

  package var names: [String] {
    if case .object(let members) = self { members.map(\.name) } else { [] }
  }
}

extension TestPortal {
  /// Signs up a customer with their own account.
  package func signUp(_ email: String = "ada@example.com") async throws -> TestCustomer {
    let answer = try await post(
      "/v1/signup",
      "{\"email\":\"\(email)\",\"password\":\"correct horse battery\",\"accountName\":\"Account of \(email)\"}")
    guard let token = answer.body["token"].string, let account = answer.body["account"]["id"].string,
      let accountID = UUID(uuidString: account)
    else { throw TestSetupError(description: "sign-up answered \(answer)") }
    return TestCustomer(portal: self, token: token, accountID: accountID)
  }

  /// Creates a gateway's token.
  package func makeToken(
    _ permissions: [ServiceToken.Permission] = [.verifyKeys, .writeUsage], in environment: Key.Environment? = nil,
    for apis: [CatalogReference]? = nil
  ) async throws -> String {
    try await services.serviceTokens.create(
      name: "gateway", permissions: permissions, environment: environment, apis: apis,
      by: Caller(actor: .command(name: "test"))
    ).secret.reveal()
  }

  /// The override that ``makeCatalog()`` makes.
  package static let overrideID = "01980e60-5555-7a2b-8c3d-4e5f6a7b8c9d"

  /// Makes the api `orders`, the permission `a` and the role `pro`, unless they exist, and gives the role the
  /// permission `b` alone. Makes the namespace `emails` with an override, unless they exist.
  package func makeCatalog() async throws {
    try await script(
      """
      insert into apis (id, slug, name) values (gen_random_uuid(), 'orders', 'Orders') on conflict do nothing;
      insert into permissions (id, slug) values (gen_random_uuid(), 'a'), (gen_random_uuid(), 'b')
        on conflict do nothing;
      insert into roles (id, name) values (gen_random_uuid(), 'pro') on conflict do nothing;
      delete from role_permissions;
      insert into role_permissions (role_id, permission_id)
        select role.id, permission.id from roles role, permissions permission
        where role.name = 'pro' and permission.slug = 'b';
      delete from apis where slug = 'new'; delete from permissions where slug = 'new';
      delete from roles where name = 'new';
      insert into limit_namespaces (id, name, name_hash) values (gen_random_uuid(), 'emails', sha256('emails'))
        on conflict do nothing;
      insert into limit_overrides (id, namespace_id, identifier, limit_value, window_milliseconds)
        select '\(Self.overrideID)', id, 'user_1', 5, 60000 from limit_namespaces where name = 'emails'
        on conflict do nothing
      """)
  }

  /// Creates a member of staff and logs them in. Returns the session's token.
  package func logInStaff(
    _ email: String = "grace@example.com", role: StaffMember.Role = .support
  ) async throws -> String {
    guard let address = EmailAddress(email), let password = Password("correct horse battery") else {
      throw TestSetupError(description: "bad address")
    }
    _ = try await services.accounts.createStaff(
      name: "Grace", email: address, role: role, password: password, by: Caller(actor: .command(name: "test")))
    let answer = try await post(
      "/v1/support/login", "{\"email\":\"\(email)\",\"password\":\"correct horse battery\"}")
    guard let token = answer.body["token"].string else {
      throw TestSetupError(description: "staff login answered \(answer)")
    }
    return token
  }

  /// Verifies a key as a gateway does. `more` is JSON of further members of the body, each preceded by a comma.
  package func verify(_ key: String, token: String, _ more: String = "") async throws -> TestAnswer {
    try await post("/v1/verify", "{\"key\":\"\(key)\"\(more)}", token: token)
  }

  /// Writes the usage counted so far to the database.
  package func flushUsage() async throws {
    guard await application.usage.flush() else { throw TestSetupError(description: "usage could not be flushed") }
  }
}

/// A customer who is logged in.
package struct TestCustomer: Sendable {
  package let portal: TestPortal
  package let token: String
  package let accountID: UUID

  package init(portal: TestPortal, token: String, accountID: UUID) {
    self.portal = portal
    self.token = token
    self.accountID = accountID
  }

  /// Creates a key. `more` is JSON of further members of the body, each preceded by a comma.
  package func createKey(_ more: String = "") async throws -> (id: String, key: String) {
    let answer = try await post("/v1/keys", "{\"name\":\"Key\",\"scopes\":[\"orders:read\"]\(more)}")
    guard let id = answer.body["id"].string, let key = answer.body["key"].string else {
      throw TestSetupError(description: "creating a key answered \(answer)")
    }
    return (id, key)
  }
}
