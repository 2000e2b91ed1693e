/// The limits that refuse requests when there are too many.
package enum RequestRefusal: String, Sendable, CaseIterable {
  case session, address, token, verification
  /// More requests of one account than may wait.
  case account
}
