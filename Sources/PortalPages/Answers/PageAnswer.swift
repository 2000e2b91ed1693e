package import HTTPTypes
package import Hummingbird
import NIOCore
package import Portal
package import PortalHTTP
package import PortalViews

extension Response {
  package init(
    _ page: some PortalPage, in frame: Frame = Frame(), status: HTTPResponse.Status = .ok, headers: HTTPFields = [:]
  ) {
    var headers = headers
    headers[.contentType] = "text/html; charset=utf-8"
    self.init(
      status: status, headers: headers,
      body: ResponseBody(byteBuffer: ByteBuffer(bytes: page.document(in: frame).bytes)))
  }

  /// Leads the browser to another page, which it gets (RFC 9110 15.4.4).
  package static func seeOther(_ link: Link, headers: HTTPFields = [:]) -> Response {
    var headers = headers
    headers[.location] = link.text
    return Response(status: .seeOther, headers: headers)
  }
}

extension MemberContext {
  package var frame: Frame {
    Frame(
      reader: .init(
        email: session.user.email, accountName: session.account.name,
        isSuspended: session.account.suspendedAt != nil))
  }

  package func may(_ permission: MemberPermission) -> Bool { session.role.permits(permission) }
}
