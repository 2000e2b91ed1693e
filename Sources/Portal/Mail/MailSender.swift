import Foundation
package import Postgres
import ServiceLifecycle
import Synchronization

/// A mail that an instance has leased.
struct ClaimedMail: Sendable {
  var mail: Mail
  /// The number of this attempt, counted from 1.
  var attempt: Int
  /// Seconds since it was enqueued, by the database's clock.
  var ageSeconds: Double
}

/// How mail is sent.
package struct MailSettings: Sendable {
  package var transport: MailTransport
  package var from: Mailbox
  /// The number of mails sent concurrently, each on its own thread.
  package var threadCount = 4
  /// How often to look for due mails, besides when this instance enqueues one.
  package var pollInterval: Duration = .seconds(5)
  /// How long a sender has a mail to itself. It must exceed the longest time that sending takes. The mail of a sender
  /// that died waits until the lease expires.
  package var lease: Duration = .seconds(120)
  package var backoff = MailBackoff()
  /// The number of attempts after which a mail has failed: about six hours.
  package var attemptCountMax = 14

  package init(transport: MailTransport, from: Mailbox) {
    self.transport = transport
    self.from = from
  }
}

/// Sends the mails in the outbox, at least once. A mail is recorded as sent after the server accepted it. If the sender
/// dies or loses the database in between, the mail is sent again with the same `Message-ID`. Any number of instances
/// share the work.
package final class MailSender: Service {
  private let pool: PostgresPool
  private let outbox: Outbox
  private let settings: MailSettings
  private let portalURL: String
  private let observer: Observer
  /// Sending blocks, so it has its own threads.
  private let queue: OperationQueue
  private let failure = Mutex<String?>(nil)

  package init(
    pool: PostgresPool, outbox: Outbox, settings: MailSettings, portalURL: String, observer: Observer
  ) {
    self.pool = pool
    self.outbox = outbox
    self.settings = settings
    self.portalURL = portalURL
    self.observer = observer
    queue = OperationQueue()
    queue.name = "mail"
    queue.maxConcurrentOperationCount = settings.threadCount
    queue.qualityOfService = .utility
  }

  /// The reason the last attempt failed; nil if it succeeded or there was none. Permanent failures do not change it.
  package var lastFailure: String? { failure.withLock { $0 } }

  package func run() async throws {
    await cancelWhenGracefulShutdown {
      await withDiscardingTaskGroup { group in
        group.addTask {
          while !Task.isCancelled {
            self.outbox.ring()
            try? await Task.sleep(for: self.settings.pollInterval)
          }
        }
        for await _ in self.outbox.bell { await self.drain() }
      }
    }
  }

  /// Sends due mails until there are none.
  private func drain() async {
    while !Task.isCancelled, await sendSome() {}
  }

  /// Sends up to `threadCount` due mails; returns false if none was due. The task is not canceled at shutdown, so that
  /// a mail that was sent is recorded as sent.
  private func sendSome() async -> Bool {
    await Task {
      do {
        let claimed = try await pool.query(
          ClaimMails(lease: settings.lease, count: settings.threadCount), as: .identity)
        await withDiscardingTaskGroup { group in
          for mail in claimed { group.addTask { await self.send(mail) } }
        }
        return !claimed.isEmpty
      } catch {
        observer.observe(.outboxFailed("\(error)"))
        return false
      }
    }.value
  }

  private func send(_ claimed: ClaimedMail) async {
    let mail = claimed.mail
    do {
      guard let text = try await compose(claimed) else {
        try await pool.execute(FinishMail(id: mail.id, state: .dropped), as: .identity)
        return
      }
      let message = MailMessage(
        id: mail.id, from: settings.from, recipient: mail.recipient, text: text, date: Date())
      try await blocking { [settings] () throws(MailFailure) in try settings.transport.send(message) }
      failure.withLock { $0 = nil }
      try await pool.execute(FinishMail(id: mail.id, state: .sent), as: .identity)
      observer.observe(.mailSent(mail.kind))
    } catch let failure as MailFailure {
      await note(failure, of: claimed)
    } catch {
      // It is tried again when its lease has expired.
      observer.observe(.outboxFailed("\(error)"))
    }
  }

  /// Nil if the mail has no recipient or purpose any more. Stores the hash of the token, if the mail has one.
  private func compose(_ claimed: ClaimedMail) async throws -> MailText? {
    let mail = claimed.mail
    guard let purpose = mail.kind.purpose else { return text(of: mail, token: nil) }
    guard claimed.ageSeconds < purpose.lifetime / .seconds(1) else {
      throw MailFailure(reason: "it could not be sent while its token would be valid", isPermanent: true)
    }
    let user = try await pool.query(FindMailUser(email: mail.recipient), as: .identity).first
    switch purpose {
    case .passwordReset where user == nil: return nil
    case .emailVerification where user?.id != mail.userID || user?.isVerified != false: return nil
    // The address belongs to another user by now.
    case .emailChange where user != nil: return nil
    case .signUp where user != nil: return text(of: mail, token: nil)
    default: break
    }
    let token = Secret.random(prefix: purpose.prefix)
    let userID = purpose == .emailChange ? mail.userID : user?.id
    let kept = try await pool.query(
      InsertOneTimeToken(mailID: mail.id, token: token.hash, purpose: purpose, userID: userID), as: .identity)
    return kept.isEmpty ? nil : text(of: mail, token: token)
  }

  private func text(of mail: Mail, token: Secret?) -> MailText {
    MailText(mail.kind, mail.parameters, token: token, portalURL: portalURL)
  }

  private func note(_ failure: MailFailure, of claimed: ClaimedMail) async {
    let (mail, isOver) = (claimed.mail, failure.isPermanent || claimed.attempt >= settings.attemptCountMax)
    let reason = String(failure.reason.prefix(Self.reasonLengthMax))
    if !failure.isPermanent { self.failure.withLock { $0 = reason } }
    observer.observe(isOver ? .mailFailed(mail.kind, reason) : .mailDeferred(mail.kind, reason))
    do {
      if isOver {
        try await pool.execute(FinishMail(id: mail.id, state: .failed, error: reason), as: .identity)
      } else {
        let delay = settings.backoff.delay(after: claimed.attempt, random: .random(in: 0...1))
        try await pool.execute(
          DeferMail(id: mail.id, attempt: claimed.attempt, delay: delay, error: reason), as: .identity)
      }
    } catch {
      observer.observe(.outboxFailed("\(error)"))
    }
  }

  /// In characters.
  private static let reasonLengthMax = 300

  private func blocking(_ work: @escaping @Sendable () throws(MailFailure) -> Void) async throws {
    try await withCheckedThrowingContinuation { continuation in
      queue.addOperation { continuation.resume(with: Result { try work() }) }
    }
  }
}
