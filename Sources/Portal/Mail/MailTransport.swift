import Foundation

/// The way mail is delivered. Its calls block, so they run on the sender's own threads.
package enum MailTransport: Sendable {
  case smtp(SMTPServer)
  /// For development: one file per mail, readable only by its owner.
  case folder(String)

  func send(_ message: MailMessage) throws(MailFailure) {
    let bytes = try message.bytes()
    switch self {
    case .smtp(let server): try server.send(bytes, from: message.from.address, to: message.recipient)
    case .folder(let path):
      do { try Self.write(bytes, as: message.id, to: path) } catch {
        throw MailFailure(reason: "the mail could not be written to MAIL_FOLDER")
      }
    }
  }

  private static func write(_ bytes: [UInt8], as id: UUID, to path: String) throws {
    let files = FileManager.default
    try files.createDirectory(
      atPath: path, withIntermediateDirectories: true, attributes: [.posixPermissions: 0o700])
    let folder = URL(filePath: path)
    // A hidden name until the file is complete.
    let part = folder.appending(path: ".\(id.text)")
    guard files.createFile(atPath: part.path, contents: Data(bytes), attributes: [.posixPermissions: 0o600]) else {
      throw CocoaError(.fileWriteUnknown)
    }
    guard rename(part.path, folder.appending(path: id.text + ".eml").path) == 0 else {
      throw CocoaError(.fileWriteUnknown)
    }
  }
}
