import Foundation

/// Where mails are put, to be sent later: the table `mails`, and a bell that wakes this process's sender. Putting one
/// in is a statement of the transaction that it tells of, so there is no mail of what did not happen, and none is lost.
package final class Outbox: Sendable {
  /// False where no mail is sent: then nothing is put in, because it would come out when nobody expects it any more.
  package let isOpen: Bool
  let bell: AsyncStream<Void>
  private let hammer: AsyncStream<Void>.Continuation

  package init(isOpen: Bool) {
    self.isOpen = isOpen
    (bell, hammer) = AsyncStream.makeStream(bufferingPolicy: .bufferingNewest(1))
  }

  /// After the transaction. Without it a mail waits for the sender's next look.
  package func ring() { hammer.yield() }

  /// Puts in a mail to one address; more than a few of a kind within half an hour are not put in, so that nobody fills
  /// a stranger's mailbox.
  func mail(
    _ kind: Mail.Kind, to recipient: String, accountID: UUID? = nil, userID: UUID? = nil, subjectID: UUID? = nil,
    _ parameters: Mail.Parameters = .init()
  ) -> EnqueueMail {
    EnqueueMail(
      mail: Mail(
        id: .version7(), kind: kind, recipient: recipient, accountID: accountID, userID: userID, subjectID: subjectID,
        parameters: parameters), isOpen: isOpen)
  }

  /// Puts in a mail to each owner and admin of the account. `isWanted` is for what is not always worth one.
  func notice(
    _ kind: Mail.Kind, of accountID: UUID, subjectID: UUID, if isWanted: Bool = true, _ parameters: Mail.Parameters
  ) -> EnqueueNotices {
    EnqueueNotices(
      kind: kind, accountID: accountID, subjectID: subjectID, parameters: parameters, isOpen: isOpen && isWanted)
  }
}
