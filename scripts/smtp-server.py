"""A mail server for tests, on 127.0.0.1: stores accepted mails in a folder, and fails as specified.

Writes its port to FOLDER/port when it listens. For each mail, writes the envelope to FOLDER/N.json and then the mail to
FOLDER/N.eml. Each --fault applies to one mail, in order of arrival:

  ok           accepts the mail
  rcpt CODE    answers the recipient with CODE
  data CODE    answers the text with CODE, and stores nothing
  drop         stores the mail, then closes the connection without an answer
"""

import argparse
import asyncio
import json
import pathlib
import ssl

from aiosmtpd.smtp import SMTP, AuthResult


class Mailbox:
    def __init__(self, folder, faults):
        self.folder = folder
        self.faults = faults
        self.count = 0

    async def handle_RCPT(self, server, session, envelope, address, options):
        session.fault = (self.faults.pop(0) if self.faults else "ok").split()
        if session.fault[0] == "rcpt":
            return session.fault[1] + " as requested by the test"
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server, session, envelope):
        if session.fault[0] == "data":
            return session.fault[1] + " as requested by the test"
        self.count += 1
        path = self.folder / str(self.count)
        details = {
            "from": envelope.mail_from,
            "to": envelope.rcpt_tos,
            "encrypted": session.ssl is not None,
            "user": session.auth_data,
        }
        path.with_suffix(".json").write_text(json.dumps(details))
        path.with_suffix(".part").write_bytes(envelope.original_content)
        path.with_suffix(".part").rename(path.with_suffix(".eml"))
        if session.fault[0] == "drop":
            server.transport.abort()
        return "250 OK"


async def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--folder", type=pathlib.Path, required=True)
    parser.add_argument("--certificate")
    parser.add_argument("--key")
    parser.add_argument("--user")
    parser.add_argument("--password")
    parser.add_argument("--ascii", action="store_true", help="do not offer SMTPUTF8")
    parser.add_argument("--fault", action="append", default=[])
    arguments = parser.parse_args()

    tls = None
    if arguments.certificate:
        tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        tls.load_cert_chain(arguments.certificate, arguments.key)

    def authenticate(server, session, envelope, mechanism, data):
        user, password = data.login.decode(), data.password.decode()
        is_right = (user, password) == (arguments.user, arguments.password)
        return AuthResult(success=is_right, handled=False, auth_data=user)

    mailbox = Mailbox(arguments.folder, arguments.fault)
    needs_user = arguments.user is not None
    server = await asyncio.get_running_loop().create_server(
        lambda: SMTP(
            mailbox,
            hostname="localhost",
            enable_SMTPUTF8=not arguments.ascii,
            tls_context=tls,
            require_starttls=tls is not None,
            authenticator=authenticate if needs_user else None,
            auth_required=needs_user,
            auth_require_tls=tls is not None,
        ),
        host="127.0.0.1",
        port=0,
    )
    port = arguments.folder / "port"
    port.with_suffix(".part").write_text(str(server.sockets[0].getsockname()[1]))
    port.with_suffix(".part").rename(port)
    await server.serve_forever()


asyncio.run(main())
