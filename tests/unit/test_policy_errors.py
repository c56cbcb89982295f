"""What is wrong with a policy is said in full, at its place, with the nearest valid word."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from policy_strategies import policies

from portwatch.errors import PolicyError, UsageError
from portwatch.policy.model import Policy
from portwatch.policy.source.document import MAX_BYTES
from portwatch.policy.source.load import load_policy, parse_policy, policy_sources

HEAD = "version: 1\n"
ONE = HEAD + "constraints:\n  - name: a\n"


def problems_of(*texts: str | bytes) -> list[str]:
    """Return the lines that a bad policy is refused with; files are called a.yaml, b.yaml, …"""
    with pytest.raises(PolicyError) as caught:
        parse_policy([(f"{'abcd'[number]}.yaml", text) for number, text in enumerate(texts)])
    return str(caught.value).splitlines()


ONE_PROBLEM = {
    "": "1:1: the file is empty",
    " \n \n": "1:1: the file is empty",
    "# nothing\n": "1:1: the policy is empty: it needs at least `version: 1`",
    "[1]": "1:1: the policy must be a mapping, not `[…]`",
    "version: 2\n": "1:10: `version` must be 1, not `2`",
    "version: true\n": "1:10: `version` must be 1, not `true`",
    "version: 1.0\n": "1:10: `version` must be 1, not `1.0`",
    HEAD + "mode: enforc\n": "2:7: unknown mode `enforc`; did you mean `enforce`?",
    HEAD + "mode: on\n": "2:7: unknown mode `on`; it is enforce or record",
    HEAD + "default: deni\n": "2:10: unknown default `deni`; did you mean `deny`?",
    HEAD + "errno: eacces\n": "2:8: unknown errno `eacces`; did you mean `EACCES`?",
    HEAD + "mode:\n": "2:1: `mode` has no value",
    HEAD + "constrains: []\n": "2:1: unknown key `constrains`; did you mean `constraints`?",
    HEAD + "version: 1\n": "2:1: duplicate key `version`, first at a.yaml:1:1",
    HEAD + "constraints: {}\n": "2:14: `constraints` must be a list of constraints, not `{…}`",
    HEAD + "constraints: [hi]\n": "2:15: an item of `constraints` must be a constraint, not `hi`",
    HEAD + "constraints: [{deny: [1]}]\n": "2:15: `name` is missing",
    HEAD + "---\nversion: 1\n": "2:1: a policy file holds one YAML document",
    HEAD + "reason: !!python/name:os.system y\n": "2:9: YAML tag `!!python/name:os.system` is not "
    "allowed in a policy",
    "\tversion: 1\n": "1:1: not YAML: a tab cannot indent; use spaces",
    HEAD + "define: {ports: {a: [1}\n": "2:23: not YAML: while parsing a flow sequence, did not "
    "find expected ',' or ']'",
    "version: 1\x00": "1:11: not YAML: character U+0000 is not allowed",
    'version: 1\nreason: "a\\0b"\n': "2:9: control character U+0000 is not allowed",
    "[" * 100: "1:33: nested more than 32 levels deep",
    ONE: "3:5: the constraint says nothing: it needs `deny`, `allow` or `otherwise`",
    ONE + "    denny: [1]\n": "4:5: unknown key `denny`; did you mean `deny`?",
    ONE
    + "    deny: [1]\n    accept: [shard-ports]\n": "5:14: `shard-ports` is no finding that can "
    "be accepted; did you mean `shared-ports`?",
    ONE + "    deny: [1]\n    accept: shared-ports\n": "5:13: `accept` must be a list of findings, "
    "such as [shared-ports], not `shared-ports`",
    ONE + "    deny: [1]\n    accept: []\n": "5:13: `accept` is empty",
    ONE + "    deny: 8080\n": "4:11: `deny` must be a list of ports, such as "
    "[8080, 9000-9099/tcp], not `8080`",
    ONE + "    deny: [0]\n": "4:12: port 0 asks the kernel to pick one: use `ephemeral`",
    ONE + "    deny: ['0']\n": "4:12: `0`: port 0 asks the kernel to pick one: use `ephemeral`",
    ONE + "    deny: [80, 65536]\n": "4:16: port 65536 is not between 1 and 65535",
    ONE + "    deny: [1-65536]\n": "4:12: `1-65536`: port 65536 is not between 1 and 65535",
    ONE + "    deny: [9-5/tcp]\n": "4:12: `9-5/tcp`: the range runs backwards; "
    "did you mean `5-9/tcp`?",
    ONE + "    deny: [22:80]\n": "4:12: unknown port word `22:80`",
    ONE + "    deny: [8_0]\n": "4:12: unknown port word `8_0`",
    ONE + "    deny: [080]\n": "4:12: `080`: write port `80` without leading zeros",
    ONE + "    deny: [80/tpc]\n": "4:12: `80/tpc`: unknown protocol; did you mean `tcp`?",
    ONE + "    deny: [80/]\n": "4:12: `80/`: unknown protocol; it is tcp, udp, udplite or sctp",
    ONE + "    deny: [true]\n": "4:12: an item of `deny` must be a port, not `true`",
    ONE + "    deny: [no]\n": "4:12: unknown port word `no`",
    ONE + "    deny: [1, ]\n    allow: [~]\n": "5:13: an item of the list is empty",
    ONE + "    deny: [previleged]\n": "4:12: unknown port word `previleged`; "
    "did you mean `privileged`?",
    ONE + "    deny: [catalog:etdc]\n": "4:12: the catalog has no `etdc`; "
    "did you mean `catalog:etcd`?",
    ONE + "    deny: [1]\n    addresses: [looback]\n": "5:17: unknown address word `looback`; "
    "did you mean `loopback`?",
    ONE + "    deny: [1]\n    addresses: [10.1.0.1/16]\n": "5:17: `10.1.0.1/16`: host bits are "
    "set; did you mean `10.1.0.0/16`?",
    ONE + "    deny: [1]\n    addresses: [10.0.0.0/33]\n": "5:17: `10.0.0.0/33`: not an address "
    "or CIDR",
    ONE + "    deny: [1]\n    addresses: ['fe80::1%eth0']\n": "5:17: `fe80::1%eth0`: an address "
    "has no scope id here; leave out the `%` part",
    ONE + "    deny: [1]\n    addresses: []\n": "5:16: `addresses` is empty",
    ONE + "    deny: [1]\n    network: hst\n": "5:14: unknown network `hst`; did you mean `host`?",
    ONE + "    deny: [1]\n    for: shop\n": "5:10: unknown workload `shop`",
    ONE + "    deny: [1]\n    for: {unit: [nginx]}\n": "5:18: `nginx` has no suffix; "
    "did you mean `nginx.service`?",
    ONE + "    deny: [1]\n    for: {unti: a.service}\n": "5:11: unknown key `unti`; "
    "did you mean `unit`?",
    ONE + "    deny: [1]\n    for: {cgroup: ci}\n": "5:19: a cgroup path begins at the root: "
    "did you mean `/ci`?",
    ONE + "    deny: [1]\n    for: {cgroup: /a**b}\n": "5:19: `**` stands alone between slashes, "
    "as in `/ci/**` or `/**/build-*`",
    ONE + "    deny: [1]\n    for: {user: -1}\n": "5:17: id `-1` is not between 0 and 4294967294",
    ONE + "    deny: [1]\n    for: {user: '4294967295'}\n": "5:17: id `4294967295` is not between "
    "0 and 4294967294",
    ONE + "    deny: [1]\n    for: {}\n": "5:10: the selector is empty; leave out `for` to mean "
    "every workload",
    ONE + "    deny: [1]\n    for: {container: /web}\n": "5:22: a container name has no `/`; paths "
    "are `cgroup`",
    ONE + "    deny: [1]\n    for: {image: /nginx}\n": "5:18: `/nginx` is no image: write it as "
    "`docker pull` takes it",
    ONE + "    deny: [1]\n    for: {pod: {namespace: X}}\n": "5:28: `X` can be no pod's namespace: "
    "small letters, digits, - .",
    ONE + "    deny: [1]\n    for: {pod: web-0}\n": "5:16: `web-0` is no pod's uid: by its name it "
    "is `pod: {name: web-0}`",
    ONE
    + "    deny: [1]\n    for: {pod: {labels: {app: 3}}}\n": "5:31: `app` must be text: put it in "
    "quotes, not `3`",
    ONE + "    deny: [1]\n    for: {pod: {labels: {a: x*}}}\n": "5:29: `x*` is no label's value: "
    "labels have no globs, list the values",
    ONE
    + "    deny: [1]\n    for: {pod: {labels: a b}}\n": "5:25: `a b`: a comma is missing before "
    "`b`",
    ONE + "    deny: [1]\n    for: {pod: {labels: {}}}\n": "5:25: there is no label in "
    "it; leave it out to mean any labels",
    ONE + "    deny: [1]\n    for: {pod: {known: false, name: x}}\n": "5:24: of a pod that is not "
    "known nothing else is either: only `uid`",
    ONE + "    deny: [1]\n    for: {pod: {matchExpressions: [{key: a, operator: in}]}}\n": "5:55: "
    "unknown operator `in`; did you mean `In`?",
    ONE
    + "    deny: [1]\n    for: {pod: {matchExpressions: [{key: a, operator: In}]}}\n": "5:36: In "
    "takes one or more values",
    "version: 1\npods: {unknown: maybe}\n": "2:17: `maybe` is nothing that can be said of unknown "
    "pods; it is allow or deny",
    "version: 1\npods: {unknown: deny}\nconstraints: [{name: unknown-pods, deny: [1]}]\n": "3:22: "
    "constraint `unknown-pods` is already defined at a.yaml:2:7",
    ONE
    + "    deny: [1]\n    for: {pod: /kubepods/burstable}\n": "5:16: `/kubepods/burstable` is no "
    "pod's cgroup: the kubelet's are `…/podUID` or `…-podUID.slice`",
    ONE + "    deny: [1]\n    for: {pod: {}}\n": "5:16: the selector is empty; "
    '`pod: "*"` means every pod',
    ONE + "    deny: [1]\n    for: {unit: *all}\n": "5:17: `*all` is a YAML alias, which policies "
    "do not have: put a glob in quotes, and reuse by `define`",
    HEAD + "constraints: [{name: default, deny: [1]}]\n": "2:22: the name `default` is taken: "
    "denials by `default` have it",
    HEAD + "constraints: [{name: x y, deny: [1]}]\n": "2:22: `x y` is no name: letters, digits, "
    "`.`, `_` and `-`, at most 63, a letter or digit first",
    HEAD + "define: {ports: {all: [1]}}\n": "2:18: `all` is a word of the language and cannot "
    "be defined",
    HEAD + "define: {ports: {'80': [1]}}\n": "2:18: `80` would be read as a port",
    HEAD + "define: {addresses: {'::1': [loopback]}}\n": "2:22: `::1` is no name: letters, "
    "digits, `.`, `_` and `-`, at most 63, a letter or digit first",
    HEAD + "define: {ports: {a: [b], b: [a]}}\n": "2:30: `a` is defined by itself: a → b → a",
    HEAD + "define: {ports: {web: [80]}}\nconstraints: [{name: a, deny: [web/tcp]}]\n": "3:32: "
    "`web/tcp`: a defined name takes no protocol; write it in web",
    HEAD + "define: {ports: {web: [80]}}\nconstraints: [{name: a, deny: [wbe]}]\n": "3:32: "
    "unknown port word `wbe`; did you mean `web`?",
}


@pytest.mark.parametrize(("text", "line"), ONE_PROBLEM.items())
def test_a_bad_file_has_exactly_its_problem(text: str, line: str) -> None:
    """One mistake is one line: where it stands and what to write instead."""
    assert problems_of(text) == [f"a.yaml:{line}"]


def test_all_problems_are_listed_in_file_order() -> None:
    """Shape, words, names and references of one file are all found in one go."""
    text = """\
version: 1
mode: record it
define:
  ports: {web: [8000-8099/tpc, metricz], metrics: [9100]}
  workloads: {shop: {unti: x}, w: [shop, shpo]}
constraints:
  - name: a
    deny: [catalog:etcd, 0, wbe]
    otherwise: dney
  - deny: [web]
  - name: a
    allow: [metrics, true]
    for: sohp
"""
    assert problems_of(text) == [
        "a.yaml:2:7: unknown mode `record it`; did you mean `record`?",
        "a.yaml:4:17: `8000-8099/tpc`: unknown protocol; did you mean `tcp`?",
        "a.yaml:4:32: unknown port word `metricz`; did you mean `metrics`?",
        "a.yaml:5:22: unknown key `unti`; did you mean `unit`?",
        "a.yaml:5:42: unknown workload `shpo`; did you mean `shop`?",
        "a.yaml:8:26: port 0 asks the kernel to pick one: use `ephemeral`",
        "a.yaml:8:29: unknown port word `wbe`; did you mean `web`?",
        "a.yaml:9:16: unknown otherwise `dney`; did you mean `deny`?",
        "a.yaml:10:5: `name` is missing",
        "a.yaml:11:11: constraint `a` is already defined at a.yaml:7:11",
        "a.yaml:12:22: an item of `allow` must be a port, not `true`",
        "a.yaml:13:10: unknown workload `sohp`; did you mean `shop`?",
    ]


def test_names_defined_in_two_files_name_both_places() -> None:
    """Across files as within one, a name and a setting stand once."""
    first = "version: 1\ndefine: {ports: {web: [80]}}\nconstraints: [{name: x, deny: [web]}]\n"
    second = "version: 1\ndefine:\n  ports: {web: [81]}\nconstraints: [{name: x, deny: [web]}]\n"
    assert problems_of(first, second, b"\xff") == [
        "b.yaml:1:1: `version` is already set at a.yaml:1:1",
        "b.yaml:3:11: `web` is already defined at a.yaml:2:18",
        "b.yaml:4:22: constraint `x` is already defined at a.yaml:3:22",
        "c.yaml:1:1: not UTF-8: byte 0xff",
    ]


def test_bounds_are_named() -> None:
    """Past a bound the error names the number; at the bound all is well."""
    row = "  - {{name: c{}, deny: [1]}}\n"
    full = HEAD + "constraints:\n" + "".join(row.format(n) for n in range(1024))
    assert len(parse_policy([("a", full)]).constraints) == 1024
    assert problems_of(full + row.format(1024)) == [
        "a.yaml:1027:5: 1,025 constraints; a policy has at most 1,024"
    ]
    assert problems_of(b"#" * (MAX_BYTES + 1)) == ["a.yaml:1:1: the file is larger than 4 MiB"]
    assert "more than 131,072 values" in problems_of("a: [" + "1," * 140_000 + "]")[0]


def test_definitions_do_not_explode() -> None:
    """Definitions that refer to one another a hundredfold stay the few ports that they are."""
    levels = [f"    a{n + 1}: [{', '.join([f'a{n}'] * 100)}]" for n in range(30)]
    text = HEAD + "define:\n  ports:\n    a0: [1, 2]\n" + "\n".join(levels)
    policy = parse_policy([("a", text + "\nconstraints: [{name: c, deny: [a30]}]\n")])
    assert len(policy.constraints[0].deny.ranges) == 2
    deep = HEAD + "define:\n  ports:\n" + "".join(f"    b{n}: [b{n + 1}]\n" for n in range(5000))
    assert "definitions refer more than 32 deep" in problems_of(deep + "    b5000: [1]\n")[0]


def test_what_cannot_be_read_is_a_usage_error(tmp_path: Path) -> None:
    """A missing file, an empty directory and an unreadable path say so, without traceback."""
    with pytest.raises(UsageError, match="No such file"):
        load_policy(tmp_path / "none.yaml")
    with pytest.raises(UsageError, match=r"no \*\.yaml"):
        load_policy(tmp_path)
    with pytest.raises(UsageError):
        load_policy(tmp_path / "a\0b")
    (tmp_path / "loop.yaml").symlink_to("loop.yaml")
    with pytest.raises(UsageError):
        load_policy(tmp_path / "loop.yaml")


def test_directories_merge_in_name_order(tmp_path: Path) -> None:
    """A directory's *.yaml are one policy; other files and hidden ones are not of it."""
    (tmp_path / "20-b.yaml").write_text("constraints: [{name: b, deny: [web]}]\n")
    (tmp_path / "10-a.yaml").write_text("version: 1\nconstraints: [{name: a, deny: [1]}]\n")
    (tmp_path / "30-c.yaml").write_text("# off\n")
    (tmp_path / "40-d.yaml").write_text("define: {ports: {web: [80]}}\n")
    (tmp_path / ".e.yaml").write_text("nonsense")
    (tmp_path / "f.yml").write_text("nonsense")
    policy = load_policy(tmp_path)
    assert [constraint.name for constraint in policy.constraints] == ["a", "b"]
    assert [Path(name).name[:2] for name, _ in policy_sources(tmp_path)] == ["10", "20", "30", "40"]
    assert policy.source == str(tmp_path)


def loads_or_is_refused(text: str | bytes) -> Policy | None:
    """Parse a text; check that a refusal is well-formed, and let nothing else be raised."""
    try:
        return parse_policy([("fuzz.yaml", text)])
    except PolicyError as error:
        assert error.problems
        assert all(problem.line >= 1 and problem.column >= 1 for problem in error.problems)
        assert all("\n" not in problem.message for problem in error.problems)
        return None


_SCRAPS = [
    "\x00", "\t", "\n", "  ", "- ", ": ", "{", "}", "[", "]", '"', "'", "*a", "&a ", "!!int ", "? ",
    "|", ">", "---\n", "...\n", "%YAML 1.1\n", "<<: ", "~", "no", "22:22", "2001-01-01", "0x1f",
    "9" * 5000, ".inf", "1e3", "\ufeff", "\u2028", "\x85", "😀", "\\", '"\\0"', '"\\ud800"', "#",
]  # fmt: skip


@given(policies(max_constraints=3), st.randoms(use_true_random=False))
@settings(derandomize=True, deadline=None, max_examples=200)
def test_mutated_policies_load_or_are_refused(text: str, dice: random.Random) -> None:
    """No mutation of a valid file does anything but load or raise PolicyError."""
    for _ in range(dice.randint(1, 4)):
        at, end = sorted((dice.randint(0, len(text)), dice.randint(0, len(text))))
        kind = dice.randrange(4)
        if kind == 0:
            text = text[:at] + dice.choice(_SCRAPS) + text[at:]
        elif kind == 1:
            text = text[:at] + text[min(end, at + 9) :]
        elif kind == 2:
            text = text[:at] + text[at:end][:200] + text[at:]
        else:
            words = text.split(" ")
            words[dice.randrange(len(words))] = dice.choice(_SCRAPS)
            text = " ".join(words)
    loads_or_is_refused(text)
    loads_or_is_refused(text.encode("utf-8", "replace"))


@given(st.binary(max_size=300) | st.text(max_size=200))
@settings(derandomize=True, deadline=None, max_examples=300)
def test_any_bytes_load_or_are_refused(text: str | bytes) -> None:
    """No bytes at all do anything but load or raise PolicyError."""
    loads_or_is_refused(text)


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-32", "latin-1", "utf-8-sig"])
def test_other_encodings_are_refused_and_a_bom_is_not(encoding: str) -> None:
    """UTF-8 is the encoding; a byte order mark in it does no harm."""
    loaded = loads_or_is_refused("version: 1\nreason: é\n".encode(encoding))
    assert (loaded is not None) == (encoding == "utf-8-sig")


_KEYS = (
    "version", "define", "ports", "addresses", "workloads", "constraints", "name", "for", "except",
    "pod", "unit", "user", "deny", "allow", "mode", "<list>", "x",
)  # fmt: skip


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(
                st.sampled_from(_KEYS),
                inner,
                max_size=4,
            )
        ),
        max_leaves=25,
    )
)
@settings(derandomize=True, deadline=None, max_examples=300)
def test_any_shape_loads_or_is_refused(data: object) -> None:
    """No tree of keys and values does anything but load or raise PolicyError."""
    import yaml

    loads_or_is_refused(yaml.safe_dump(data))
