"""Prints a YAML file as JSON.

Reads YAML 1.2 (core schema): times, yes and no are strings.
"""

import json
import re
import sys

import yaml


class Loader(yaml.SafeLoader):
    yaml_implicit_resolvers = {}


for tag, pattern, first in [
    ("bool", "true|True|TRUE|false|False|FALSE", "tTfF"),
    ("null", "~|null|Null|NULL|", ["~", "n", "N", ""]),
    ("int", "[-+]?[0-9]+", "-+0123456789"),
    ("float", r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?", "-+.0123456789"),
]:
    Loader.add_implicit_resolver(f"tag:yaml.org,2002:{tag}", re.compile(f"^(?:{pattern})$"), list(first))

with open(sys.argv[1], encoding="utf-8") as file:
    document = yaml.load(file, Loader)
json.dump(document, sys.stdout, ensure_ascii=False, indent=1, allow_nan=False)
print()
