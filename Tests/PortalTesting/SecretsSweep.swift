import Foundation
package import JSON
import Logging
import Portal
import PortalApplication
import PortalHTTP
import Postgres
import Synchronization

/// Secrets that were found in a place that must not contain any.
package struct SecretsFound: Error, CustomStringConvertible {
  package let description: String
}

/// Looks for secrets in everything that a test leaves: its database, logs, metrics and mails.
///
/// Tokens are recognized by their form and checksum, passwords and codes because they were in a request or a response.
/// The text of a finding contains only the beginning of the secret.
package final class SecretsSweep: Sendable {
  /// The passwords of most tests; some are sent without a ``TestPortal``.
  private static let passwords = ["correct horse battery", "another horse battery", "another battery staple"]
  /// Shorter secrets would be found by chance.
  private static let lengthMin = 12

  private let issued: Mutex<Set<String>>

  package init() { issued = Mutex(Set(Self.passwords)) }

  package var all: Set<String> { issued.withLock { $0 } }

  package func note(_ secret: String) {
    guard secret.utf8.count >= Self.lengthMin else { return }
    issued.withLock { _ = $0.insert(secret) }
  }

  /// Remembers the passwords in a request.
  package func note(request: [UInt8]) {
    guard let body = try? JSONParser.parse(request) else { return }
    for name in ["password", "newPassword"] { body[name].string.map(note) }
  }

  /// Remembers the secrets that a response shows once.
  package func note(answer: JSONValue) {
    // Tokens are recognized by their form.
    answer["secret"].string.map(note)
    answer["recoveryCodes"].array.compactMap(\.string).forEach(note)
  }

  /// The beginnings of the secrets in a text, which may be plain, hexadecimal or base 64. Tokens with a prefix in
  /// `allowed` are ignored.
  package func hits(in text: String, allowing allowed: Set<String> = []) -> [String] {
    var hits: [String] = []
    for part in text.components(separatedBy: "lk_").dropFirst() {
      let token = "lk_" + part.prefix { $0.isASCII && ($0.isLetter || $0.isNumber || $0 == "_") }
      guard let end = token.lastIndex(of: "_") else { continue }
      let prefix = String(token[..<end])
      if !allowed.contains(prefix), Secret(presented: token).isWellFormed(prefix: prefix) {
        hits.append(String(token.prefix(16)))
      }
    }
    for secret in all where !allowed.contains(where: { secret.hasPrefix($0 + "_") }) {
      let forms = [
        secret, secret.utf8.map { String(format: "%02x", $0) }.joined(), Data(secret.utf8).base64EncodedString(),
      ]
      if forms.contains(where: { text.contains($0) }) { hits.append(String(secret.prefix(6))) }
    }
    return hits
  }

  /// Throws ``SecretsFound`` if a text contains a secret.
  package func check(_ text: String, allowing allowed: Set<String> = [], _ place: String) throws {
    let hits = hits(in: text, allowing: allowed)
    if !hits.isEmpty { throw SecretsFound(description: "\(place) has secrets that begin with \(hits)") }
  }

  /// Throws ``SecretsFound`` if a row of any table contains a secret. The database must have ``function``.
  package func check(_ database: TestDatabase) async throws {
    let found = try await PostgresPool.with(database.configuration) { pool in
      try await pool.query(SweepTables(issued: Array(all)))
    }
    if !found.isEmpty { throw SecretsFound(description: "the database has secrets: \(found)") }
  }

  /// SQL of the function that searches all tables. The template database has it.
  static let function = """
    create schema sweep;
    create function sweep.tables(issued text[]) returns setof text language plpgsql as $$
    declare
      name text;
      forms constant text[] := issued || array(
        select unnest(array[encode(convert_to(secret, 'UTF8'), 'hex'), encode(convert_to(secret, 'UTF8'), 'base64')])
        from unnest(issued) secret);
      hit text;
    begin
      for name in select oid::regclass::text from pg_class
        where relnamespace = 'public'::regnamespace and relkind = 'r' loop
        execute format(
          $query$
            select %L || ': ' || left(
              coalesce((regexp_match(t::text, $1))[1], (select form from unnest($2) form where strpos(t::text, form) > 0
                limit 1)), 16)
            from %s t
            where t::text ~ $1 or exists (select from unnest($2) form where strpos(t::text, form) > 0) limit 1
          $query$, name, name)
          into hit using '(lk_[a-z]+_[0-9A-Za-z]{49}|6c6b5f(?:[67][0-9a-f])+5f(?:[3-7][0-9a-f]){49})', forms;
        if hit is not null then return next hit; end if;
        hit := null;
      end loop;
    end $$;
    """
}

private struct SweepTables: PostgresStatement {
  typealias Row = String
  static let sql = "select * from sweep.tables($1)"
  let issued: [String]
  func bind(_ bindings: inout PostgresBindings) { bindings.append(issued) }
}

/// Keeps all log messages, of all levels.
struct KeptLog: LogHandler {
  final class Storage: Sendable {
    private let kept = Mutex<[String]>([])
    var lines: [String] { kept.withLock { $0 } }
    var text: String { lines.joined(separator: "\n") }
    func add(_ line: String) { kept.withLock { $0.append(line) } }
  }

  let storage: Storage
  var logLevel = Logger.Level.trace
  var metadata: Logger.Metadata = [:]

  init(_ storage: Storage) { self.storage = storage }

  subscript(metadataKey key: String) -> Logger.Metadata.Value? {
    get { metadata[key] }
    set { metadata[key] = newValue }
  }

  func log(event: LogEvent) {
    storage.add("\(event.level) \(event.message) \(metadata) \(event.metadata ?? [:])")
  }
}
