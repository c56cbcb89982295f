"""What a loaded policy holds; the built-in one; the JSON Schema; speed."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from typing import Any

from portwatch.policy.decide import Endpoint, decide
from portwatch.policy.source.document import read_document
from portwatch.policy.source.load import builtin_policy, parse_policy
from portwatch.policy.source.problems import Problems
from portwatch.policy.source.schema import json_schema
from portwatch.policy.words.addresses import DUAL, Address
from portwatch.policy.workload import Selector, Subject


def test_settings_fall_back_from_constraint_to_file_to_default() -> None:
    """mode, errno and reason of a constraint are its own, else the file's, else the default."""
    policy = parse_policy(
        [
            ("a", "constraints: [{name: a, deny: [1]}, {name: b, allow: [], mode: record}]"),
            ("b", "{version: 1, mode: enforce, errno: EPERM, reason: why}"),
        ]
    )
    first, second = policy.constraints
    assert (first.mode, first.errno, first.reason, first.otherwise) == (
        "enforce",
        "EPERM",
        "why",
        "continue",
    )
    assert (second.mode, second.own_mode, second.otherwise) == ("record", "record", "deny")
    assert second.has_allow
    bare = parse_policy([("a", "version: 1")])
    assert (bare.mode, bare.default, bare.errno) == ("record", "allow", "EACCES")


def test_modes_can_be_forced() -> None:
    """record silences every constraint; enforce spares those that say their own mode."""
    text = "{version: 1, constraints: [{name: a, deny: [1]}, {name: b, deny: [2], mode: record}]}"
    policy = parse_policy([("a", text)])
    assert [c.mode for c in policy.with_mode("enforce").constraints] == ["enforce", "record"]
    assert [c.mode for c in policy.with_mode("record").constraints] == ["record", "record"]
    assert policy.with_mode("enforce").with_mode("record").mode == "record"


def test_sha256_is_that_of_the_text() -> None:
    """The hash is what `cat files | sha256sum` prints."""
    policy = parse_policy([("a", b"version: 1\n"), ("b", b"# x\n")])
    assert policy.sha256 == hashlib.sha256(b"version: 1\n# x\n").hexdigest()


def test_yaml_words_stay_text() -> None:
    """Names that YAML 1.1 would turn into something else are names."""
    text = """\
version: 1
define: {workloads: {on: {user: no}, 2001-01-01: {user: yes}, 1e3: {user: 0x10}}}
constraints: [{name: off, for: [on, 2001-01-01, 1e3], deny: [80]}]
"""
    policy = parse_policy([("a", text)])
    assert policy.constraints[0].name == "off"
    assert policy.constraints[0].subject_for == (
        Selector(user=("no",)),
        Selector(user=("yes",)),
        Selector(user=("0x10",)),
    )


def test_the_builtin_policy_only_records() -> None:
    """The built-in policy names what is odd, gives its reason, and denies nothing."""
    policy = builtin_policy()
    assert policy.mode == "record"
    assert all(c.mode == "record" and c.reason for c in policy.constraints)
    stray = Subject("/system.slice/stray.service")
    anywhere, loopback = DUAL, Address.parse("127.0.0.1")
    for port, address, verdict in (
        (22, anywhere, "recorded"),
        (2379, loopback, "recorded"),
        (2375, loopback, "recorded"),
        (9229, anywhere, "recorded"),
        (9229, loopback, "allowed"),
        (8080, anywhere, "allowed"),
        (0, anywhere, "allowed"),
    ):
        assert decide(policy, stray, Endpoint("tcp", port, address)).verdict == verdict, port
    etcd = Subject("/system.slice/etcd.service")
    assert decide(policy, etcd, Endpoint("tcp", 2379, anywhere)).verdict == "allowed"
    static_pod = Subject("/kubepods.slice/kubepods-pod1.slice/cri-containerd-1.scope")
    assert decide(policy, static_pod, Endpoint("tcp", 2379, anywhere)).verdict == "allowed"


def conforms(value: Any, schema: dict[str, Any], root: dict[str, Any]) -> bool:
    """Check a value against the part of JSON Schema that ours uses."""
    if "$ref" in schema:
        target = root["$defs"][schema["$ref"].removeprefix("#/$defs/")]
        return conforms(value, target, root)
    if "anyOf" in schema or "oneOf" in schema:
        branches = schema.get("anyOf") or schema["oneOf"]
        return any(conforms(value, branch, root) for branch in branches)
    if "enum" in schema and value not in schema["enum"]:
        return False
    kind = schema.get("type")
    if kind == "object":
        known = schema.get("properties", {})
        extra = schema.get("additionalProperties", True)
        return isinstance(value, dict) and all(
            conforms(item, known[key], root)
            if key in known
            else extra is True or (isinstance(extra, dict) and conforms(item, extra, root))
            for key, item in value.items()
        )
    if kind == "array":
        return isinstance(value, list) and all(conforms(i, schema["items"], root) for i in value)
    return isinstance(value, {"string": str, "integer": int}[str(kind)])


def test_json_schema_describes_policies() -> None:
    """The schema takes the built-in policy, refuses misspelt keys, and describes every key."""
    from pathlib import Path

    import portwatch.policy as package

    schema = json_schema()
    text = Path(str(package.__file__)).with_name("builtin.yaml").read_bytes()
    document = read_document("builtin.yaml", text, Problems())
    assert document is not None
    assert conforms(document.data, schema, schema)
    assert not conforms({**document.data, "mood": "enforce"}, schema, schema)
    assert not conforms({"constraints": [{"name": "a", "denny": [1]}]}, schema, schema)
    assert not conforms({"mode": "on"}, schema, schema)
    for owner in (schema, *schema["$defs"].values()):
        assert owner["additionalProperties"] is False
        assert all(entry.get("description") for entry in owner["properties"].values())
    assert '"null"' not in str(schema).replace("'", '"')


def test_policies_import_no_kernel_code() -> None:
    """Loading the language loads nothing of bcc, click, or the rest of portwatch."""
    code = (
        "import sys, portwatch.policy.source.load, portwatch.policy.tables.compile;"
        "print([m for m in sys.modules if m.split('.')[0] in ('bcc', 'click', 'prometheus_client')"
        " or m.startswith('portwatch.') and m.split('.')[1] not in ('policy', 'errors', 'digest')])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
