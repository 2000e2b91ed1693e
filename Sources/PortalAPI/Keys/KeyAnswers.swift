package import Foundation
import JSON
package import Portal

/// A new API key in a response.
package struct NewKey: Sendable {
  package var id: UUID
  /// The key as the first response shows it, as the text of a JSON object.
  var key: String
  /// Nil if the secret is not shown again.
  package var secret: Secret?

  init(_ answer: FirstAnswer) throws {
    id = answer.newID
    key = try answer.objects(atLeast: 1)[0]
    secret = answer.secret
  }

  package init(_ issued: IssuedKey, at now: Date) {
    id = issued.key.id
    key = JSONWriter.text(of: issued.key, at: now)
    secret = issued.secret
  }
}

/// The response to a roll. The keys are the texts of JSON objects.
struct RolledKey: Sendable {
  var successor: NewKey
  var predecessor: String
  /// The keys that were in the grace period of an earlier roll, which this roll has ended.
  var ended: [String]
  var propagation: Propagation

  init(_ answer: FirstAnswer, _ propagation: Propagation) throws {
    let objects = try answer.objects(atLeast: 2)
    successor = try NewKey(answer)
    predecessor = objects[1]
    ended = Array(objects.dropFirst(2))
    self.propagation = propagation
  }
}

extension FirstAnswer {
  /// `others` are the keys in the response besides the new one.
  init(_ issued: IssuedKey, _ others: [Key] = [], at now: Date) {
    let keys = [issued.key] + others
    self.init(objects: keys.map { JSONWriter.text(of: $0, at: now) }, newID: issued.key.id, secret: issued.secret)
  }
}

extension JSONWriter {
  private static let keyWarning = "Store this key securely: it won't be shown again."

  fileprivate static func text(of key: Key, at now: Date) -> String { object { $0.fields(of: key, at: now) }.text }

  package mutating func fields(of new: NewKey) {
    fields(ofObject: new.key)
    field("key", new.secret?.reveal())
  }

  mutating func fields(of rolled: RolledKey) {
    object("newKey") { $0.fields(of: rolled.successor) }
    object("oldKey") { $0.fields(ofObject: rolled.predecessor) }
    if !rolled.ended.isEmpty {
      objects("endedKeys", rolled.ended) { $0.fields(ofObject: $1) }
    }
    propagation(rolled.propagation)
    keyWarning()
  }

  mutating func keyWarning() { field("warning", Self.keyWarning) }
}
