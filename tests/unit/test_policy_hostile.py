"""Policies written to cost memory or time, or to hide what is wrong with them."""

from __future__ import annotations

import contextlib
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from policy_strategies import ACCOUNTS, policies

from portwatch.errors import PolicyError
from portwatch.policy.source.document import MAX_BYTES
from portwatch.policy.source.load import (
    builtin_policy,
    builtin_sources,
    parse_policy,
    policy_sources,
)
from portwatch.policy.source.misfits import misfits
from portwatch.policy.source.schema import PolicySpec
from portwatch.policy.tables.compile import compile_policy

A = "version: 1\nconstraints:\n  - {name: a, deny: ["
DEFINE = "version: 1\ndefine: {"
TANGLED = ["a" + f"{n:014b}".replace("0", "ab").replace("1", "ba") * 2 for n in range(700)]


def numbered(pattern: str, count: int) -> str:
    """Return `pattern` with the numbers from 0, one after another, separated by commas."""
    return ",".join(pattern.format(n) for n in range(count))


HOSTILE: dict[str, Callable[[], str | bytes]] = {
    "bad items": lambda: A + "{}," * 125_000 + "]}",
    "too many items": lambda: A + "{}," * 250_000 + "]}",
    "nulls": lambda: A + "~," * 130_000 + "]}",
    "integers": lambda: A + ("9" * 18 + ",") * 130_000 + "]}",
    "a long integer": lambda: A + "9" * 4_000_000 + "]}",
    "deep lists": lambda: A + ("[" * 27 + "]" * 27 + ",") * 4700 + "]}",
    "depth": lambda: "[" * MAX_BYTES,
    "indentation": lambda: "".join(" " * n + "a:\n" for n in range(2800)),
    "unknown words": lambda: A + numbered("w{}", 130_000) + "]}",
    "unknown keys": lambda: numbered("constraint{}: 1", 60_000).replace(",", "\n"),
    "unknown names": lambda: DEFINE + f"ports: {{{numbered('a{0}: [b{0}]', 40_000)}}}}}",
    "tangled names": lambda: (
        DEFINE
        + f"ports: {{{': [1], '.join(TANGLED[:500])}: [1]}}}}\nconstraints: [{{name: a, deny: ["
        + ",".join(word + "z" for word in TANGLED[500:])
        + "]}]"
    ),
    "addresses": lambda: A + "], addresses: [" + numbered("'2001:db8::{:x}'", 65_000) + "]}",
    "almost addresses": lambda: A + "], addresses: [" + numbered("1." * 500 + "x{}", 4000) + "]}",
    "a workload named often": lambda: (
        DEFINE
        + f"workloads: {{a: [{numbered('{{unit: a{}.service}}', 20_000)}]}}}}\n"
        + "constraints: [{name: a, for: ["
        + "a," * 40_000
        + "]}]"
    ),
    "a port list named often": lambda: (
        DEFINE + f"ports: {{a: [{numbered('{}', 40_000)}], b: [{'a,' * 40_000}]}}}}"
    ),
    "patterns": lambda: A + "], for: {unit: [" + numbered("a{}.service", 130_000) + "]}}",
    "a port list used often": lambda: (
        DEFINE
        + f"ports: {{a: [{numbered('{}', 40_000)}]}}}}\nconstraints: ["
        + numbered("{{name: c{}, deny: [a]}}", 1000)
        + "]"
    ),
    "tag directives": lambda: "".join(f"%TAG !a{n}! x\n" for n in range(150_000)) + "--- {}",
    "late tag directives": lambda: "{}\n...\n" + "%TAG !a! x\r" * 150_000,
    "NULs": lambda: b"\0" * MAX_BYTES,
    "UTF-16": lambda: ("version: 1\n" * 100_000).encode("utf-16"),
    "a late byte": lambda: b"#" * (MAX_BYTES - 1) + b"\xff",
}


def worst() -> tuple[float, str]:
    """Load and compile every hostile text; return the most seconds of CPU, and for which."""
    times = []
    for name, text in HOSTILE.items():
        content = text()
        begin = time.process_time()
        with contextlib.suppress(PolicyError):
            compile_policy(parse_policy([("a.yaml", content)]), ACCOUNTS)
        times.append((time.process_time() - begin, name))
    return max(times)


def test_hostile_policies_cost_little() -> None:
    """None takes without end, or the process over 200 MiB, whatever its author meant by it."""
    code = (
        "import re, test_policy_hostile as hostile; found = hostile.worst();"
        "peak = re.search(r'VmHWM:\\s+(\\d+)', open('/proc/self/status').read())[1];"
        "print(*found, peak, sep='|')"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        cwd=Path(__file__).parent,
    )
    seconds, name, peak_kib = done.stdout.strip().split("|")
    assert float(seconds) < 30, name
    assert int(peak_kib) < 200 << 10


def test_many_files_have_the_room_of_one(tmp_path: Path) -> None:
    """Bytes and values are counted over all files, and no more is read than is needed."""
    values = "define: {addresses: {" + "x{}: [" + "loopback," * 60_000 + "]}}\n"
    with pytest.raises(PolicyError, match=r"^c.yaml:1:\d+: more than 131,072 values$"):
        parse_policy([(f"{name}.yaml", values.replace("x{}", name)) for name in "abc"])
    for name in "abcde":
        (tmp_path / f"{name}.yaml").write_bytes(b"#" * (MAX_BYTES // 2))
    sources = policy_sources(tmp_path)
    assert len(sources) == 3
    with pytest.raises(PolicyError, match=r"c\.yaml:1:1: the files up to here are larger than 4 M"):
        parse_policy(sources)


@pytest.mark.parametrize("text", ["%TAG !a! x\n--- {}", "\ufeff# a\n%TAG !a! x\n--- {}"])
def test_tag_directives_are_refused(text: str) -> None:
    """A policy has no tags, and none is declared."""
    with pytest.raises(PolicyError, match=r":1: `%TAG` is not allowed: a policy has no tags$"):
        parse_policy([("a.yaml", text)])


def test_a_problem_is_one_line() -> None:
    """A line break in a name or a pattern does not break the list of problems."""
    text = r"""
define: {ports: {"a\nb": [1, "a\nb"]}, workloads: {"c\nd": {cgroup: "x\ny"}}}
constraints: [{name: "e\nf", for: {unit: "g\nh"}, deny: ["a\nb/tcp", "a\nc"]}]
"""
    with pytest.raises(PolicyError) as caught:
        parse_policy([("a.yaml", text)])
    assert len(str(caught.value).splitlines()) == len(caught.value.problems) == 8


def test_the_listing_ends_at_a_thousand() -> None:
    """A file of nothing but mistakes is refused with its first thousand."""
    with pytest.raises(PolicyError) as caught:
        parse_policy([("a.yaml", A + "true," * 5000 + "]}")])
    assert len(caught.value.problems) == 1000


def nodes(data: Any) -> list[tuple[Any, Any]]:
    """Return every (container, key) in a document."""
    steps = list(data) if isinstance(data, dict) else range(len(data))
    inner = [data[step] for step in steps if isinstance(data[step], (dict, list))]
    return [(data, step) for step in steps] + [found for item in inner for found in nodes(item)]


_MISFITTING = [
    True, 0, -1, 2, 65536, 1 << 32, 1 << 70, 1.5, "", "x" * 1025, "enforce", [], [[]], [""], {},
    {"a": 1}, {"for_": "a"}, {"<list>": 1}, {"unit": "a", "uid": "b"}, [{"name": "a"}],
]  # fmt: skip


@given(policies(max_constraints=3), st.data())
@settings(derandomize=True, deadline=None, max_examples=400)
def test_the_walk_finds_something_wherever_msgspec_does(text: str, data: st.DataObject) -> None:
    """What msgspec refuses has a misfit: the walk along the types overlooks no kind of them."""
    document = yaml.safe_load(text)
    container, step = data.draw(st.sampled_from(nodes(document)))
    container[step] = data.draw(st.sampled_from(_MISFITTING))
    try:
        msgspec.convert(document, PolicySpec)
    except msgspec.ValidationError:
        assert list(misfits(document, PolicySpec))
    else:
        assert not list(misfits(document, PolicySpec))


def test_builtin_sources_are_the_builtin_policy() -> None:
    """The built-in policy is loaded from the sources that it is shown as."""
    again = parse_policy(builtin_sources(), source="builtin")
    assert again == builtin_policy()


def test_mutated_policies() -> None:
    """A few thousand of those that `make fuzz` reads by the hundred thousand."""
    fuzz = Path(__file__).parents[1] / "fuzz_policies.py"
    done = subprocess.run(
        [sys.executable, fuzz, "3000", "2"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    loaded = int(done.stdout.split("): ")[1].split()[0])
    assert loaded > 100
