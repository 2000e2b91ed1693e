import Foundation

/// The queue of mails to send: the table `mails`, and a bell that wakes this process's sender. A mail is enqueued in
/// the transaction that it reports, so no mail reports a change that did not happen, and none is lost.
package final class Outbox: Sendable {
  /// False if mail is not configured. Then nothing is enqueued, because it would be sent long after it was expected.
  package let isOpen: Bool
  let bell: AsyncStream<Void>
  private let hammer: AsyncStream<Void>.Continuation

  package init(isOpen: Bool) {
    self.isOpen = isOpen
    (bell, hammer) = AsyncStream.makeStream(bufferingPolicy: .bufferingNewest(1))
  }

  /// Wakes the sender; to be called after the transaction. Otherwise a mail waits for the sender's next poll.
  package func ring() { hammer.yield() }

  /// Enqueues a mail to one address. More than a few of one kind within half an hour are not enqueued, so that nobody
  /// can fill a stranger's mailbox.
  func mail(
    _ kind: Mail.Kind, to recipient: String, accountID: UUID? = nil, userID: UUID? = nil, subjectID: UUID? = nil,
    _ parameters: Mail.Parameters = .init()
  ) -> EnqueueMail {
    EnqueueMail(
      mail: Mail(
        id: .version7(), kind: kind, recipient: recipient, accountID: accountID, userID: userID, subjectID: subjectID,
        parameters: parameters), isOpen: isOpen)
  }

  /// Enqueues a mail to each owner and admin of the account, if `isWanted`.
  func notice(
    _ kind: Mail.Kind, of accountID: UUID, subjectID: UUID, if isWanted: Bool = true, _ parameters: Mail.Parameters
  ) -> EnqueueNotices {
    EnqueueNotices(
      kind: kind, accountID: accountID, subjectID: subjectID, parameters: parameters, isOpen: isOpen && isWanted)
  }
}
