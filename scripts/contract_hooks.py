"""Credentials and ids of existing objects for schemathesis.

scripts/contract loads this. Each tag of the document has a person or a token of its own, so that no tag disturbs
another. Operations that end sessions, or delete the caller's account, get a session of their own for each request.

The environment names the server (CONTRACT_URL), the program (CONTRACT_BINARY, with DATABASE_URL) and the password of
everybody (CONTRACT_PASSWORD), which is the one in the document's examples.
"""

import functools
import itertools
import json
import os
import subprocess

import requests
import schemathesis

URL = os.environ["CONTRACT_URL"]
BINARY = os.environ["CONTRACT_BINARY"]
PASSWORD = os.environ["CONTRACT_PASSWORD"]
# The new password in the document's example.
NEW_PASSWORD = "staple battery horse correct"

# These operations end the request's session, replace its token or delete its account.
ENDING = {
    "logOut", "eraseOwnData", "endOtherSessions", "endOwnSession", "changePassword", "changeEmail",
    "confirmSecondFactor", "disableSecondFactor", "switchAccount", "deleteAccount", "leaveAccount",
    "logOutStaff", "endOtherStaffSessions", "endOwnStaffSession", "changeStaffPassword", "confirmStaffSecondFactor",
    "disableStaffSecondFactor",
}

numbers = itertools.count(1)
client = requests.Session()
client.trust_env = False


def address():
    """A client address that nobody has had yet: guesses are limited by address."""
    number = next(numbers)
    return f"10.{number >> 16 & 255}.{number >> 8 & 255}.{number & 255}"


def send(method, path, body=None, token=None):
    headers = {"X-Forwarded-For": address()}
    if token:
        headers["Authorization"] = f"Bearer {token}"
    return client.request(method, URL + path, json=body, headers=headers, timeout=30)


def call(method, path, body=None, token=None):
    answer = send(method, path, body, token)
    if not answer.ok:
        raise RuntimeError(f"{method} {path} answered {answer.text}")
    return answer.json()


def command(*arguments):
    # Hashes of passwords are as cheap as the server's.
    environment = {"DATABASE_URL": os.environ["DATABASE_URL"], "PASSWORD_COST": "10"}
    result = subprocess.run(
        [BINARY, *arguments, "--json"], env=environment, input=PASSWORD, stdout=subprocess.PIPE, text=True, check=True
    )
    return json.loads(result.stdout)


staff_emails = {}


def create_staff(name, *more):
    email = f"staff{next(numbers)}@example.com"
    return command("staff", "create", "--name", name, "--email", email, "--password-file", "-", *more)


def staff_session(name):
    """A new session of the admin with this name."""
    if name in staff_emails:
        for password in (PASSWORD, NEW_PASSWORD):
            answer = send("POST", "/v1/support/login", {"email": staff_emails[name], "password": password})
            if answer.status_code == 200:
                return answer.json()["token"]
    # There is no such admin yet, or failed guesses delay the login.
    staff_emails[name] = create_staff(name, "--role", "admin")["email"]
    return call("POST", "/v1/support/login", {"email": staff_emails[name], "password": PASSWORD})["token"]


def member_session(tag):
    body = {"email": f"member{next(numbers)}@example.com", "password": PASSWORD, "accountName": tag}
    return call("POST", "/v1/signup", body)


member = functools.cache(member_session)
staff = functools.cache(staff_session)


@functools.cache
def service_token(tag):
    permissions = [
        "keys.verify", "usage.write", "keys.read", "keys.write", "analytics.read", "catalog.read", "catalog.write",
        "keys.grant", "accounts.read", "accounts.write", "limits.use", "limits.write", "audit.read", "keys.import",
        "keys.export",
    ]  # fmt: skip
    flags = [word for permission in permissions for word in ("--permission", permission)]
    return command("tokens", "create", "--name", tag, *flags)["token"]


@functools.cache
def held_key(operation):
    session = member_session(operation)
    return call("POST", "/v1/keys", {"name": "Contract", "scopes": ["orders:read"]}, session["token"])["key"]


@schemathesis.auth(refresh_interval=None)
class Credentials:
    def get(self, case, context):
        raw = context.operation.definition.raw
        schemes = {name for choice in raw["security"] for name in choice}
        operation, tag = raw["operationId"], raw["tags"][0]
        ends = operation in ENDING
        # A member's list has no query parameters.
        if "memberSession" in schemes and operation != "listAccounts":
            return "Authorization", "Bearer " + (member_session(tag) if ends else member(tag))["token"]
        if "serviceToken" in schemes:
            return "Authorization", "Bearer " + service_token(tag)
        if "serviceTokenHeader" in schemes:
            return "X-Latchkey-Token", service_token(tag)
        if "apiKey" in schemes:
            return "X-API-Key", held_key(operation)
        if "staffSession" in schemes:
            return "Authorization", "Bearer " + (staff_session(operation) if ends else staff(tag))
        return None

    def set(self, case, data, context):
        if data:
            case.headers[data[0]] = data[1]


def create_key(tag):
    # The operations of Support suspend the account of their tag.
    session = member_session(tag) if tag == "Support" else member(tag)
    body = {"name": "Contract", "scopes": ["orders:read"]}
    return call("POST", f"/v1/accounts/{session['account']['id']}/keys", body, service_token(tag))["id"]


def create_invitation(tag):
    body = {"email": f"guest{next(numbers)}@example.com", "role": "viewer"}
    return call("POST", "/v1/invitations", body, member(tag)["token"])["id"]


def create_account(tag):
    return call("POST", "/v1/accounts", {"name": "Contract"}, service_token(tag))["id"]


def create_token(tag):
    body = {"name": "Contract", "permissions": ["keys.verify"]}
    return call("POST", "/v1/support/tokens", body, staff(tag))["id"]


def create_api(tag):
    return call("POST", "/v1/apis", {"slug": f"api{next(numbers)}", "name": "Contract"}, service_token(tag))["slug"]


def create_permission(tag):
    return call("POST", "/v1/permissions", {"slug": f"permission{next(numbers)}"}, service_token(tag))["slug"]


def create_role(tag):
    return call("POST", "/v1/roles", {"name": f"role{next(numbers)}"}, service_token(tag))["name"]


def create_override(tag):
    # All of them are in the namespace of the document's examples.
    body = {"identifier": f"user{next(numbers)}", "limit": 1, "windowMilliseconds": 1000}
    return call("PUT", "/v1/limits/emails/overrides", body, service_token(tag))["id"]


# For each example id in the document, a function that creates the object; one object per operation.
THINGS = {
    "01980e62-3c55-7d0a-8f4e-6b1c2d3e4f50": create_key,
    "01980e5f-7a10-7c3e-9b1a-2f4d6c8e0a11": lambda tag: member(tag)["account"]["id"],
    "01980e5f-7a11-7d4f-8c2b-3e5f7a9b1c2d": lambda tag: member_session(tag)["user"]["id"],
    "01980e71-9d8e-7f60-b5a4-938271605f4e": create_invitation,
    "01980e74-1b2c-7d3e-8f4a-5b6c7d8e9f01": create_account,
    "01980e59-6a7b-7c8d-9e0f-1a2b3c4d5e6f": create_token,
    "01980e58-1c2d-7e3f-a4b5-c6d7e8f9a0b1": lambda tag: create_staff(tag)["id"],
    "orders": create_api,
    "orders.read": create_permission,
    "pro": create_role,
    "01980e60-5555-7a2b-8c3d-4e5f6a7b8c9d": create_override,
}


@functools.cache
def thing(example, operation, tag):
    return THINGS[example](tag)


@schemathesis.hook
def before_call(context, case, kwargs):
    case.headers["X-Forwarded-For"] = address()
    raw = case.operation.definition.raw
    # Only CSV may have more than 10,000 rows.
    if raw["tags"][0] == "Analytics" and str((case.query or {}).get("limit", "")).isdecimal():
        if int(case.query["limit"]) > 10_000:
            case.headers["Accept"] = "text/csv"
    for name, value in case.path_parameters.items():
        if value in THINGS:
            case.path_parameters[name] = thing(value, raw["operationId"], raw["tags"][0])
