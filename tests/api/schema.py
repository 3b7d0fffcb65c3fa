# SPDX-License-Identifier: Apache-2.0
"""api/openapi.yaml as a judge of requests and answers, which remembers what it has seen.

An answer must be one that its path has, and valid; a request that was done must be valid, too. Used by
walk.py.
"""

import json

import jsonschema
import yaml


def to_json_schema(node):
    """OpenAPI 3.0 has `nullable` where JSON Schema has a type."""
    if isinstance(node, list):
        return [to_json_schema(one) for one in node]
    if not isinstance(node, dict):
        return node
    out = {key: to_json_schema(value) for key, value in node.items() if key != "nullable"}
    if node.get("nullable") is True:
        return {"anyOf": [{"type": "null"}, out]}
    return out


class Schema:
    def __init__(self, path):
        with open(path, encoding="utf-8") as file:
            self.api = yaml.safe_load(file)
        self.parts = {"components": to_json_schema(self.api["components"])}
        self.seen = set()

    def find(self, method, path):
        """The path as openapi.yaml has it, or None."""
        words = path.split("?")[0].split("/")[1:]
        for pattern, item in self.api["paths"].items():
            wanted = pattern.split("/")[1:]
            fits = len(wanted) == len(words) and all(
                w == g or w.startswith("{") for w, g in zip(wanted, words)
            )
            if fits and method.lower() in item:
                return pattern
        return None

    def resolve(self, node):
        while "$ref" in node:
            at = self.api
            for word in node["$ref"].split("/")[1:]:
                at = at[word]
            node = at
        return node

    def fields(self, node, name):
        """(schema's name, field, field's schema) of an object's schema."""
        if "$ref" in node:
            name = node["$ref"].split("/")[-1]
        node = self.resolve(node)
        for part in node.get("allOf", []):
            yield from self.fields(part, name)
        for field, value in node.get("properties", {}).items():
            yield name, field, value

    def note(self, node, value, name):
        if isinstance(value, list):
            for one in value:
                self.note(self.resolve(node).get("items", {}), one, name)
        if not isinstance(value, dict):
            return
        for owner, field, inner in self.fields(node, name):
            if field in value:
                self.seen.add((owner, field))
                self.note(inner, value[field], owner + "." + field)

    def check(self, node, value):
        jsonschema.validate(value, {**to_json_schema(node), **self.parts})

    def judge(self, method, path, body, status, answer):
        """A sentence that says what is wrong, or None."""
        pattern = self.find(method, path)
        if pattern is None:
            fault = self.api["components"]["responses"]["Fault"]
            self.check(fault["content"]["application/json"]["schema"], json.loads(answer))
            return None if status == 400 else "openapi.yaml has no such request"
        operation = self.api["paths"][pattern][method.lower()]
        self.seen.add((method, pattern))
        response = operation["responses"].get(str(status))
        if response is None:
            return f"openapi.yaml has no answer {status} here"
        response = self.resolve(response)
        content = response.get("content", {})
        if bool(content) != bool(answer):
            return "openapi.yaml says otherwise of the answer's body"
        if "application/json" in content:
            node = content["application/json"]["schema"]
            self.check(node, json.loads(answer))
            self.note(node, json.loads(answer), "answer")
        if status < 300 and "requestBody" in operation:
            node = operation["requestBody"]["content"]["application/json"]["schema"]
            self.check(node, json.loads(body))
            self.note(node, json.loads(body), "request")
        return None

    def unseen(self):
        """What of openapi.yaml no case was about."""
        every = set()
        for pattern, item in self.api["paths"].items():
            every |= {(m.upper(), pattern) for m in item if m != "parameters"}
        for name in self.api["components"]["schemas"]:
            node = {"$ref": "#/components/schemas/" + name}
            every |= {(owner, field) for owner, field, _ in self.fields(node, name)}
        return sorted(every - self.seen)
