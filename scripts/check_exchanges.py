"""Compares HTTP exchanges with an OpenAPI document.

    check_exchanges.py DOCUMENT FOLDER

FOLDER has files with a line of JSON for each exchange, as Tests/PortalTesting/ExchangeLog.swift writes them. Each
answer must have a status that the operation documents, its headers, and a body of its schema. A request that was
answered 2xx must be one that the document allows.
"""

import collections
import json
import pathlib
import re
import sys
import urllib.parse

import jsonschema
import yaml

FINDINGS_MAX = 40
SNIPPET_MAX = 300
# Statuses of verdicts, which have no body. A problem with the same status has one.
VERDICTS = {("authorizeRequest", status) for status in (401, 403, 429)}
# The schema of each line of such a body, which OpenAPI cannot express.
LINES = {"application/x-ndjson": "#/components/schemas/ChainedAuditEvent"}
# Operations whose lines are other objects, for which there is no schema.
OTHER_LINES = {"exportKeys"}
# Statuses allowed outside of operations.
OUTSIDE = {400, 404, 405, 413, 429, 431}
# Items of a batch are checked individually; refused ones may violate the schema.
REFUSED_MEMBERS = {
    "reportUsage": lambda request, answer: without(request, "events", [x["index"] for x in answer["rejected"]]),
    "verifyKeys": lambda request, answer: without(
        request, "requests", [i for i, x in enumerate(answer["results"]) if x["code"] == "INVALID_REQUEST"]
    ),
}

formats = jsonschema.FormatChecker(["uuid", "ipv4", "ipv6", "date", "email", "idn-email"])


@formats.checks("date-time")
def is_time(value):
    return not isinstance(value, str) or bool(
        re.fullmatch(r"\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d:\d\d(\.\d+)?([Zz]|[-+]\d\d:\d\d)", value)
    )


def trimmed(value):
    """As the server reads what people type: without white space around it."""
    if isinstance(value, dict):
        return {name: trimmed(member) for name, member in value.items()}
    if isinstance(value, list):
        return [trimmed(element) for element in value]
    return value.strip() if isinstance(value, str) else value


def without(request, name, indices):
    left_out = set(indices)
    kept = [value for index, value in enumerate(request[name]) if index not in left_out]
    # A batch of refused items only has nothing to check.
    return {**request, name: kept} if kept else None


class Contract:
    def __init__(self, document):
        self.document = document
        self.schemas = {}
        self.validators = {}

    def resolved(self, value, place):
        """What a reference leads to, and where that is."""
        while "$ref" in value:
            place = value["$ref"]
            value = self.document
            for name in place.removeprefix("#/").split("/"):
                value = value[name.replace("~1", "/").replace("~0", "~")]
        return value, place

    def inlined(self, schema):
        """A schema with what its references lead to in their place: following them each time takes most of the time."""
        if isinstance(schema, list):
            return [self.inlined(element) for element in schema]
        if not isinstance(schema, dict):
            return schema
        others = {name: self.inlined(value) for name, value in schema.items() if name != "$ref"}
        if "$ref" not in schema:
            return others
        place = schema["$ref"]
        if place not in self.schemas:
            self.schemas[place] = self.inlined(self.resolved(schema, "")[0])
        return {**others, "allOf": [self.schemas[place], *others.get("allOf", [])]} if others else self.schemas[place]

    def errors(self, schema, place, value):
        if place not in self.validators:
            self.validators[place] = jsonschema.Draft202012Validator(self.inlined(schema), format_checker=formats)
        if self.validators[place].is_valid(value):
            return
        error = jsonschema.exceptions.best_match(self.validators[place].iter_errors(value))
        yield f"{place}: {error.json_path}: {error.message[:SNIPPET_MAX]}", error.instance

    def operation(self, exchange):
        path, method = exchange.get("path"), exchange["method"].lower()
        if path is None:
            return None, None
        place = f"#/paths/{path.replace('/', '~1')}/{'get' if method == 'head' else method}"
        try:
            return self.resolved({"$ref": place}, place)
        except KeyError:
            return None, None


def parameter_value(text, schema):
    """A value out of a header, a path or a query."""
    types = schema.get("type", "string")
    if "integer" in types and re.fullmatch(r"[0-9]+", text):
        return int(text)
    if "boolean" in types and text in ("true", "false"):
        return text == "true"
    return text


def check_answer(contract, operation, place, exchange):
    status = str(exchange["status"])
    if status not in operation["responses"]:
        yield f"{place}/responses: the status {status} is not documented", exchange["body"]
        return
    response, place = contract.resolved(operation["responses"][status], f"{place}/responses/{status}")
    fields = collections.defaultdict(list)
    for name, value in exchange["headers"]:
        fields[name.lower()].append(value)
    for name, header in response.get("headers", {}).items():
        header, header_place = contract.resolved(header, f"{place}/headers/{name}")
        values = fields.get(name.lower(), [])
        if not values and header.get("required"):
            yield f"{place}/headers/{name}: the header is required, and is not there", exchange["headers"]
        schema, schema_place = contract.resolved(header["schema"], header_place + "/schema")
        for value in values:
            yield from contract.errors(schema, schema_place, parameter_value(value, schema))
    content = response.get("content", {})
    if exchange["method"] == "HEAD" or not exchange["body"]:
        verdict = (operation["operationId"], exchange["status"]) in VERDICTS and "x-latchkey-code" in fields
        # A body of lines may have none.
        has_lines = fields.get("content-type", ["none"])[0] in LINES
        if exchange["method"] != "HEAD" and content and not verdict and not has_lines:
            media = next(iter(content.values()))
            if contract.resolved(media["schema"], "")[0].get("type") != "string":
                yield f"{place}/content: the body is required, and is not there", exchange["headers"]
        return
    types = fields.get("content-type", ["none"])
    if types[0] not in content:
        yield f"{place}/content: the media type {types[0]} is not documented", exchange["body"]
        return
    media_place = f"{place}/content/{types[0].replace('/', '~1')}"
    value = exchange["body"]
    if types[0] in LINES:
        schema, place = contract.resolved({"$ref": LINES[types[0]]}, "")
        for line in value.removesuffix("\n").split("\n"):
            if operation["operationId"] in OTHER_LINES:
                if not isinstance(json.loads(line), dict):
                    yield f"{media_place}: a line is no object", line
                continue
            yield from contract.errors(schema, place, json.loads(line))
        return
    if re.fullmatch(r"application/(.+\+)?json", types[0]):
        value = json.loads(value)
    elif types[0] == "application/yaml":
        value = yaml.load(value, yaml.CSafeLoader)
    yield from contract.errors(content[types[0]]["schema"], media_place + "/schema", value)


def check_request(contract, operation, place, exchange):
    target = urllib.parse.urlsplit(exchange["target"])
    # In a query, + is a plus sign.
    query = collections.defaultdict(list)
    for part in filter(None, target.query.split("&")):
        name, _, value = part.partition("=")
        query[urllib.parse.unquote(name)].append(urllib.parse.unquote(value))
    fields = collections.defaultdict(list)
    for name, value in exchange["requestHeaders"]:
        fields[name.lower()].append(value)
    segments = zip(exchange["path"].split("/"), target.path.split("/"))
    path = {name[1:-1]: [urllib.parse.unquote(value)] for name, value in segments if name.startswith("{")}
    known = set()
    for index, parameter in enumerate(operation.get("parameters", [])):
        parameter, parameter_place = contract.resolved(parameter, f"{place}/parameters/{index}")
        name = parameter["name"]
        known.add(name)
        given = {"query": query, "path": path, "header": fields}[parameter["in"]]
        values = given.get(name.lower() if parameter["in"] == "header" else name, [])
        schema, schema_place = contract.resolved(parameter["schema"], parameter_place + "/schema")
        if not values and parameter.get("required"):
            yield f"{parameter_place}: the parameter {name} is required, and was not sent", exchange["target"]
        elif values and schema.get("type") == "array":
            yield from contract.errors(schema, schema_place, values)
        elif values:
            yield from contract.errors(schema, schema_place, parameter_value(values[0], schema))
    if operation["operationId"] != "authorizeRequest":
        for name in query.keys() - known:
            yield f"{place}/parameters: the parameter {name} is not documented, and was accepted", exchange["target"]
    if "requestBody" not in operation:
        return
    body, place = contract.resolved(operation["requestBody"], place + "/requestBody")
    if not exchange["requestBody"]:
        if body.get("required"):
            yield f"{place}: a body is required, and an answer without one was 2xx", exchange["target"]
        return
    media_place = place + "/content/application~1json/schema"
    value = trimmed(json.loads(exchange["requestBody"].removeprefix("\ufeff")))
    refused = REFUSED_MEMBERS.get(operation["operationId"])
    if refused:
        value = refused(value, json.loads(exchange["body"]))
    if value is not None:
        yield from contract.errors(body["content"]["application/json"]["schema"], media_place, value)


def check(contract, exchange):
    operation, place = contract.operation(exchange)
    if operation is None:
        is_preflight = exchange["method"] == "OPTIONS" and exchange["status"] == 204
        if exchange["status"] not in OUTSIDE and not is_preflight:
            yield "#/paths: there is no such operation", exchange["body"]
        elif exchange["body"]:
            schema, place = contract.resolved({"$ref": "#/components/schemas/Problem"}, "")
            yield from contract.errors(schema, place, json.loads(exchange["body"]))
        return
    yield from check_answer(contract, operation, place, exchange)
    if 200 <= exchange["status"] < 300:
        yield from check_request(contract, operation, place, exchange)


def main(document, folder):
    contract = Contract(json.loads(pathlib.Path(document).read_text()))
    count, findings, operations = 0, {}, set()
    for file in sorted(pathlib.Path(folder).glob("*.jsonl")):
        for line in filter(None, file.read_text().split("\n")):
            exchange = json.loads(line)
            count += 1
            operations.add((exchange["method"], exchange.get("path")))
            name = f"{exchange['method']} {exchange.get('path') or exchange['target'][:80]} {exchange['status']}"
            for what, snippet in check(contract, exchange):
                # Report each kind only once.
                key = (name, what.split(": ")[0], re.sub(r"'.*?'|[0-9]+", "", what))
                if key not in findings:
                    findings[key] = (what, json.dumps(snippet, ensure_ascii=False)[:SNIPPET_MAX], exchange)
    if count == 0:
        sys.exit(f"{folder} has no exchanges")
    for (name, _, _), (what, snippet, exchange) in list(findings.items())[:FINDINGS_MAX]:
        print(f"{name}\n  {what}\n  there: {snippet}", file=sys.stderr)
        print(f"  asked: {exchange['target'][:SNIPPET_MAX]} {exchange['requestBody'][:SNIPPET_MAX]}\n", file=sys.stderr)
    if findings:
        sys.exit(f"{len(findings)} kinds of exchanges violate openapi.yaml.")
    print(f"{count} exchanges of {len(operations)} methods and paths match openapi.yaml.")


if __name__ == "__main__":
    main(*sys.argv[1:])
