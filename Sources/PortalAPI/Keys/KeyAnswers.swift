package import Foundation
import JSON
package import Portal

/// An API key in a response: in its current state, or as a stored response showed it.
package enum ShownKey: Sendable {
  case key(Key, at: Date)
  /// The text of a JSON object.
  case stored(String)
}

/// A new API key in a response.
package struct NewKey: Sendable {
  package var id: UUID
  package var key: ShownKey
  /// Nil if the secret is not shown again.
  package var secret: Secret?

  init(id: UUID, key: ShownKey, secret: Secret?) {
    self.id = id
    self.key = key
    self.secret = secret
  }

  package init(_ issued: IssuedKey, at now: Date) {
    self.init(id: issued.key.id, key: .key(issued.key, at: now), secret: issued.secret)
  }
}

/// The response to a roll.
struct RolledKey: Sendable {
  var successor: NewKey
  var predecessor: ShownKey
  /// The keys that were in the grace period of an earlier roll, which this roll has ended.
  var ended: [ShownKey]
  var propagation: Propagation
}

extension RolledKey {
  init(_ rolled: Keys.Rolled, at now: Date) {
    self.init(
      successor: NewKey(rolled.successor, at: now), predecessor: .key(rolled.predecessor, at: now),
      ended: rolled.ended.map { .key($0, at: now) }, propagation: rolled.propagation)
  }
}

// MARK: Stored answers

extension FirstAnswer {
  /// `others` are the keys in the response besides the new one.
  init(_ issued: IssuedKey, _ others: [Key] = [], at now: Date) {
    let keys = [issued.key] + others
    self.init(
      objects: keys.map { key in JSONWriter.object { $0.fields(of: key, at: now) }.text }, newID: issued.key.id,
      secret: issued.secret)
  }
}

extension NewKey {
  init(_ answer: FirstAnswer) throws {
    self.init(id: answer.newID, key: .stored(try answer.objects(atLeast: 1)[0]), secret: answer.secret)
  }
}

extension RolledKey {
  init(_ answer: FirstAnswer, _ propagation: Propagation) throws {
    let objects = try answer.objects(atLeast: 2)
    self.init(
      successor: try NewKey(answer), predecessor: .stored(objects[1]), ended: objects.dropFirst(2).map { .stored($0) },
      propagation: propagation)
  }
}

// MARK: JSON

extension JSONWriter {
  private static let keyWarning = "Store this key securely: it won't be shown again."

  mutating func fields(of shown: ShownKey) {
    switch shown {
    case .key(let key, let now): fields(of: key, at: now)
    case .stored(let text): fields(ofObject: text)
    }
  }

  package mutating func fields(of new: NewKey) {
    fields(of: new.key)
    field("key", new.secret?.reveal())
  }

  mutating func fields(of rolled: RolledKey) {
    object("newKey") { $0.fields(of: rolled.successor) }
    object("oldKey") { $0.fields(of: rolled.predecessor) }
    if !rolled.ended.isEmpty {
      objects("endedKeys", rolled.ended) { $0.fields(of: $1) }
    }
    propagation(rolled.propagation)
    keyWarning()
  }

  mutating func keyWarning() { field("warning", Self.keyWarning) }
}
