import Foundation
import HTTPTypes
import Hummingbird
import HummingbirdTesting
import JSON
import NIOCore
package import Portal
import PortalAPI
import PortalHTTP
import Postgres
import PostgresTesting

// Shortcuts for sending requests without HTTP types.

extension TestPortal {
  /// Sends a request with any method, header fields and bytes. It has a content type only if `headers` has one.
  package func request(
    _ method: String, _ path: String, bytes: [UInt8]? = nil, token: String? = nil, headers: [String: String] = [:]
  ) async throws -> TestAnswer {
    guard let method = HTTPRequest.Method(method) else { throw TestSetupError(description: "no method: \(method)") }
    var fields: HTTPFields = [:]
    for (name, value) in headers {
      guard let name = HTTPField.Name(name) else { throw TestSetupError(description: "no header name: \(name)") }
      fields[name] = value
    }
    if let token { fields[.authorization] = "Bearer " + token }
    if let bytes { database.sweep.note(request: bytes) }
    let answer = try await client.execute(
      uri: path, method: method, headers: fields, body: bytes.map { ByteBuffer(bytes: $0) }
    ) { response in
      let body = Array(response.body.readableBytesView)
      let isLines = response.headers[.contentType] == "application/x-ndjson"
      return TestAnswer(
        status: response.status.code, headers: response.headers,
        // Of a list with a line for each entry, nothing is kept.
        body: body.isEmpty || isLines ? .null : try JSONParser.parse(body))
    }
    database.sweep.note(answer: answer.body)
    return answer
  }

  package func get(
    _ path: String, token: String? = nil, headers: [String: String] = [:]
  ) async throws -> TestAnswer {
    try await request("GET", path, token: token, headers: headers)
  }

  package func delete(
    _ path: String, token: String? = nil, headers: [String: String] = [:]
  ) async throws -> TestAnswer {
    try await request("DELETE", path, token: token, headers: headers)
  }

  /// If there is a body, its content type is JSON unless `headers` has another.
  package func post(
    _ path: String, _ json: String? = nil, token: String? = nil, headers: [String: String] = [:]
  ) async throws -> TestAnswer {
    let type = json == nil ? [:] : ["Content-Type": "application/json"]
    return try await request(
      "POST", path, bytes: json.map { Array($0.utf8) }, token: token, headers: type.merging(headers) { $1 })
  }

  package func patch(
    _ path: String, _ json: String, token: String? = nil, headers: [String: String] = [:]
  ) async throws -> TestAnswer {
    try await request(
      "PATCH", path, bytes: Array(json.utf8), token: token,
      headers: ["Content-Type": "application/json"].merging(headers) { $1 })
  }

  package func put(_ path: String, _ json: String, token: String? = nil) async throws -> TestAnswer {
    try await request(
      "PUT", path, bytes: Array(json.utf8), token: token, headers: ["Content-Type": "application/json"])
  }

  /// Gets a document that is not JSON.
  package func text(
    _ path: String, token: String? = nil
  ) async throws -> (status: Int, type: String?, text: String) {
    var headers: HTTPFields = [:]
    if let token { headers[.authorization] = "Bearer " + token }
    return try await client.execute(uri: path, method: .get, headers: headers) { response in
      (response.status.code, response.headers[.contentType], String(buffer: response.body))
    }
  }

  /// Gets a document that is not JSON, with its header fields by lowercase name.
  package func document(
    _ path: String, headers: [String: String] = [:]
  ) async throws -> (status: Int, headers: [String: String], text: String) {
    var fields: HTTPFields = [:]
    for (name, value) in headers {
      guard let name = HTTPField.Name(name) else { throw TestSetupError(description: "no header name: \(name)") }
      fields[name] = value
    }
    return try await client.execute(uri: path, method: .get, headers: fields) { response in
      (
        response.status.code,
        Dictionary(response.headers.map { ($0.name.canonicalName, $0.value) }) { $0 + ", " + $1 },
        String(buffer: response.body)
      )
    }
  }

  /// The port on which a live portal listens.
  package var port: Int? { client.port }

  /// Runs SQL on another database.
  package func run(_ sql: String, on database: TestDatabase) async throws {
    try await PostgresPool.with(database.configuration) { pool in
      try await pool.withConnection { try await $0.executeScript(sql) }
    }
  }

  /// Runs SQL as a superuser on the portal's database, for changes that bypass the portal.
  package func script(_ sql: String) async throws {
    try await pool.withConnection { try await $0.executeScript(sql) }
  }
}

extension TestCustomer {
  package func get(_ path: String) async throws -> TestAnswer { try await portal.get(path, token: token) }

  package func post(_ path: String, _ json: String? = nil) async throws -> TestAnswer {
    try await portal.post(path, json, token: token)
  }

  package func patch(_ path: String, _ json: String, headers: [String: String] = [:]) async throws -> TestAnswer {
    try await portal.patch(path, json, token: token, headers: headers)
  }

  package func put(_ path: String, _ json: String) async throws -> TestAnswer {
    try await portal.put(path, json, token: token)
  }

  package func delete(_ path: String) async throws -> TestAnswer { try await portal.delete(path, token: token) }

  /// Makes an existing user a member, directly in the database.
  package func add(_ email: String, _ role: MemberRole) async throws {
    try await portal.script(
      """
      insert into memberships (account_id, user_id, role)
      select '\(accountID)', id, '\(role.rawValue)' from users where email = '\(email)'
      """)
  }

  /// Signs up a user, makes them a member of this account, and switches them to it.
  package func makeMember(_ email: String, _ role: MemberRole) async throws -> (userID: String, token: String) {
    let other = try await portal.signUp(email)
    try await add(email, role)
    let answer = try await other.post("/v1/accounts/\(accountID.uuidString)/switch")
    guard let token = answer.body["token"].string, let user = answer.body["user"]["id"].string else {
      throw TestSetupError(description: "switching the account answered \(answer)")
    }
    return (user, token)
  }

  /// Makes the account's members viewers, directly in the database.
  package func becomeViewer() async throws {
    try await portal.script("update memberships set role = 'viewer' where account_id = '\(accountID)'")
  }
}
