import CCurl
import Foundation

/// A mail server, used over SMTP through libcurl with one connection per mail.
package struct SMTPServer: Sendable {
  package enum Security: Sendable, Equatable {
    /// TLS from the first byte (`smtps://`).
    case tls
    /// STARTTLS is required; a server that does not offer it gets no mail.
    case startTLS
    case none
  }

  private static let submissionPort = 587
  private static let submissionsPort = 465

  package var host: String
  package var port: Int
  package var security: Security
  package var user: String?
  package var password: Secret?
  /// A PEM file with the certificates to trust instead of the system's.
  package var authorityFile: String?
  package var connectTimeout: Duration = .seconds(10)
  /// For one mail, including connecting.
  package var timeout: Duration = .seconds(30)

  /// `smtp://[user:password@]host[:587]`, with STARTTLS unless the host is this machine, or `smtps://…[:465]`; nil for
  /// anything else.
  package init?(url text: String) {
    guard let url = URLComponents(string: text), let scheme = url.scheme?.lowercased(),
      ["smtp", "smtps"].contains(scheme), let host = url.host, !host.isEmpty, url.query == nil, url.fragment == nil,
      ["", "/"].contains(url.path)
    else { return nil }
    self.host = host
    let isLocal = ["127.0.0.1", "localhost", "[::1]", "::1"].contains(host.lowercased())
    security = scheme == "smtps" ? .tls : isLocal ? .none : .startTLS
    port = url.port ?? (scheme == "smtps" ? Self.submissionsPort : Self.submissionPort)
    user = url.user
    password = url.password.map { Secret(presented: $0) }
  }

  /// Blocks. The failure it throws is permanent only if the server permanently rejected this message (5yz in RFC 5321,
  /// section 4.2.1).
  func send(_ message: [UInt8], from sender: String, to recipient: String) throws(MailFailure) {
    // Freed last, because libcurl still reads lines while it closes the connection.
    let offersOtherScripts = UnsafeMutablePointer<Bool>.allocate(capacity: 1)
    offersOtherScripts.initialize(to: false)
    defer { offersOtherScripts.deallocate() }
    guard isCurlReady, let curl = curl_easy_init() else {
      throw MailFailure(reason: "libcurl could not be initialized")
    }
    defer { curl_easy_cleanup(curl) }
    let recipients = curl_slist_append(nil, recipient)
    defer { curl_slist_free_all(recipients) }
    var message = message
    var errorText = [CChar](repeating: 0, count: Int(CURL_ERROR_SIZE))
    let (code, hasBegun) = message.withUnsafeMutableBytes { bytes in
      errorText.withUnsafeMutableBufferPointer { errorText -> (CURLcode, Bool) in
        guard let file = fmemopen(bytes.baseAddress, bytes.count, "r") else { return (CURLE_OUT_OF_MEMORY, false) }
        defer { fclose(file) }
        var options = CurlOptions(curl: curl)
        set(&options)
        options.text(CURLOPT_MAIL_FROM, sender)
        options.pointer(CURLOPT_MAIL_RCPT, recipients)
        options.number(CURLOPT_UPLOAD, 1)
        // Read by libcurl's own callback, `fread`.
        options.pointer(CURLOPT_READDATA, file)
        options.lines(noteOffer, offersOtherScripts)
        options.pointer(CURLOPT_ERRORBUFFER, errorText.baseAddress)
        guard options.result == CURLE_OK else { return (options.result, false) }
        return (curl_easy_perform(curl), ftell(file) > 0)
      }
    }
    if code == CURLE_OK { return }
    let (reason, answer) = Self.explain(code, errorText, of: curl)
    // Earlier failures concern the connection or the credentials, which an operator can repair.
    let isAboutMessage = hasBegun || code == CURLE_SEND_ERROR
    if isAboutMessage, (500...599).contains(answer), !offersOtherScripts.pointee,
      !recipient.utf8.allSatisfy({ $0 < 0x80 })
    {
      throw MailFailure(
        reason: "the mail server accepts only ASCII addresses: it does not offer SMTPUTF8 (SMTP \(answer))",
        isPermanent: true)
    }
    throw MailFailure(reason: reason, isPermanent: isAboutMessage && (550...559).contains(answer))
  }

  /// Connects, logs in if there are credentials, and returns what failed; nil if nothing did. Sends no mail. Blocks.
  package func findProblem() -> String? {
    guard isCurlReady, let curl = curl_easy_init() else { return "libcurl could not be initialized" }
    defer { curl_easy_cleanup(curl) }
    var errorText = [CChar](repeating: 0, count: Int(CURL_ERROR_SIZE))
    let code = errorText.withUnsafeMutableBufferPointer { errorText -> CURLcode in
      var options = CurlOptions(curl: curl)
      set(&options)
      // Without a recipient, libcurl sends one command and no message. Without a body, it does not print the response.
      options.text(CURLOPT_CUSTOMREQUEST, "NOOP")
      options.number(CURLOPT_NOBODY, 1)
      options.pointer(CURLOPT_ERRORBUFFER, errorText.baseAddress)
      guard options.result == CURLE_OK else { return options.result }
      return curl_easy_perform(curl)
    }
    return code == CURLE_OK ? nil : Self.explain(code, errorText, of: curl).reason
  }

  /// libcurl's description of a failure, and the server's last response code, 0 if there was none.
  private static func explain(
    _ code: CURLcode, _ errorText: [CChar], of curl: UnsafeMutableRawPointer
  ) -> (reason: String, answer: Int) {
    var answer = 0
    latchkey_curl_get_number(curl, CURLINFO_RESPONSE_CODE, &answer)
    let detail = String(decoding: errorText.prefix { $0 != 0 }.map { UInt8(bitPattern: $0) }, as: UTF8.self)
    return ((detail.isEmpty ? String(cString: curl_easy_strerror(code)) : detail) + " (SMTP \(answer))", answer)
  }

  private func set(_ options: inout CurlOptions) {
    let scheme = security == .tls ? "smtps" : "smtp"
    let host = host.contains(":") && !host.hasPrefix("[") ? "[\(host)]" : host
    options.text(CURLOPT_URL, "\(scheme)://\(host):\(port)")
    options.number(CURLOPT_USE_SSL, security == .none ? 0 : Int(CURLUSESSL_ALL.rawValue))
    options.number(CURLOPT_SSLVERSION, Int(CURL_SSLVERSION_TLSv1_2))
    if let authorityFile { options.text(CURLOPT_CAINFO, authorityFile) }
    if let user { options.text(CURLOPT_USERNAME, user) }
    if let password { options.text(CURLOPT_PASSWORD, password.reveal()) }
    // Ignores proxies that environment variables set for HTTP.
    options.text(CURLOPT_PROXY, "")
    // Signals could reach any thread.
    options.number(CURLOPT_NOSIGNAL, 1)
    options.number(CURLOPT_CONNECTTIMEOUT_MS, Int(connectTimeout / .milliseconds(1)))
    options.number(CURLOPT_TIMEOUT_MS, Int(timeout / .milliseconds(1)))
  }
}

/// libcurl must be initialized once per process, before any other call.
private let isCurlReady = latchkey_curl_global_init() == CURLE_OK

/// Sets the `Bool` at `context` if the server accepts addresses beyond ASCII (RFC 6531, section 3.1): one of its lines
/// is `250-SMTPUTF8`, in any case.
private func noteOffer(
  _ line: UnsafeMutablePointer<CChar>?, _ size: Int, _ count: Int, _ context: UnsafeMutableRawPointer?
) -> Int {
  let bytes = UnsafeRawBufferPointer(start: line, count: size * count)
  let offer = "SMTPUTF8".utf8
  if bytes.starts(with: "250".utf8), bytes.count >= 4 + offer.count,
    bytes.dropFirst(4).prefix(offer.count).elementsEqual(offer, by: { $0 & 0xDF == $1 & 0xDF })
  {
    context?.assumingMemoryBound(to: Bool.self).pointee = true
  }
  return size * count
}

/// Sets options until libcurl refuses one.
private struct CurlOptions {
  let curl: UnsafeMutableRawPointer
  private(set) var result = CURLE_OK

  init(curl: UnsafeMutableRawPointer) { self.curl = curl }

  mutating func text(_ option: CURLoption, _ value: String) {
    if result == CURLE_OK { result = latchkey_curl_set_text(curl, option, value) }
  }

  mutating func lines(_ reader: latchkey_curl_line_reader, _ context: UnsafeMutableRawPointer) {
    if result == CURLE_OK { result = latchkey_curl_set_line_reader(curl, reader, context) }
  }

  mutating func number(_ option: CURLoption, _ value: Int) {
    if result == CURLE_OK { result = latchkey_curl_set_number(curl, option, value) }
  }

  mutating func pointer(_ option: CURLoption, _ value: UnsafeMutableRawPointer?) {
    if result == CURLE_OK { result = latchkey_curl_set_pointer(curl, option, value) }
  }
}
