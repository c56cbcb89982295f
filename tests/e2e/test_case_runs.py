"""`portwatch test` as CI has it: exit status, what people and machines read."""

from __future__ import annotations

import json
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest
from product import Done, portwatch

POLICY = """
version: 1
mode: record
define:
  workloads: {shop: {unit: "shop-*.service"}}
constraints:
  - {name: etcd, except: {unit: etcd.service}, deny: [catalog:etcd], reason: the cluster's secrets}
  - {name: shop, for: shop, allow: [8000-8099/tcp]}
"""
GOOD = """
defaults: {workload: shop}
cases:
  - {name: the shop serves, bind: 8000-8099, expect: allowed, constraint: shop}
  - {name: and nothing else, bind: [22, 9000/udp], expect: denied, constraint: shop}
"""
BAD = "cases:\n  - {name: wrong, bind: 2379, expect: allowed}\n"


@pytest.fixture
def files(tmp_path: Path) -> Path:
    """A policy, and a directory of cases that hold for it."""
    (tmp_path / "policy.yaml").write_text(POLICY)
    (tmp_path / "cases").mkdir()
    (tmp_path / "cases" / "shop.yaml").write_text(GOOD)
    return tmp_path


def run(files: Path, *options: object) -> Done:
    """`portwatch test` of it all, as if enforced."""
    given = files / "policy.yaml", files / "cases", "--mode", "enforce"
    return portwatch("test", *given, *options)


def test_cases_that_hold(files: Path) -> None:
    """Exit status 0, and how many there were."""
    done = run(files)
    assert (done.returncode, done.stdout, done.stderr) == (0, "2 cases passed\n", "")
    facts = json.loads(run(files, "--json").stdout)
    assert (facts["passed"], facts["failed"]) == (2, 0)


def test_a_case_that_fails(files: Path) -> None:
    """Exit status 1; where it stands, what was expected, what came, and each step on the way."""
    bad = files / "cases" / "zbad.yaml"
    bad.write_text(BAD)
    done = run(files)
    assert done.returncode == 1
    assert done.stdout.splitlines() == [
        f"FAIL  {bad}:2: wrong",
        "      root in / binds 2379/tcp on 0.0.0.0",
        "      expected  allowed",
        "      came      denied by etcd with EACCES",
        "        1. etcd  denies: 2379/tcp is in its deny list (catalog:etcd)",
        "1 of 3 cases failed",
    ]
    facts = json.loads(run(files, "--json").stdout)
    (failed,) = (case for case in facts["cases"] if not case["passed"])
    assert failed["failures"][0]["got"]["constraint"] == "etcd"
    assert failed["failures"][0]["steps"][0]["effect"] == "deny"


def test_an_unknown_workload_fails(files: Path) -> None:
    """A case about a workload that the policy lacks fails, and names the nearest."""
    (files / "cases" / "a.yaml").write_text("cases: [{workload: shpo, bind: 1, expect: denied}]")
    done = run(files)
    assert done.returncode == 1
    assert "the policy defines no workload `shpo`; did you mean `shop`?" in done.stdout


def test_junit(files: Path) -> None:
    """With --junit CI gets its file, failures or not."""
    (files / "cases" / "zbad.yaml").write_text(BAD)
    report = files / "junit.xml"
    assert run(files, "--junit", report).returncode == 1
    root = ET.parse(report).getroot()
    assert (root.get("tests"), root.get("failures")) == ("3", "1")
    done = run(files, "--junit", files / "no" / "such.xml")
    assert done.returncode == 2
    assert "cannot write" in done.stderr


def test_only_some(files: Path) -> None:
    """--only takes the cases of a name; none of it is a mistake."""
    (files / "cases" / "zbad.yaml").write_text(BAD)
    assert run(files, "--only", "the *").stdout == "1 case passed\n"
    done = run(files, "--only", "nothing")
    assert done.returncode == 2
    assert "no case is called nothing" in done.stderr


@pytest.mark.parametrize(
    ("cases", "said"),
    [
        (
            "cases: [{bind: 1, expect: deny}]",
            ":1:27: unknown expect `deny`; did you mean `denied`?",
        ),
        ("cases: [", "not YAML"),
        ("", "the file is empty"),
    ],
)
def test_bad_cases(files: Path, cases: str, said: str) -> None:
    """Exit status 2, the place, no traceback; as JSON too."""
    (files / "cases" / "shop.yaml").write_text(cases)
    for options in ([], ["--json"]):
        done = run(files, *options)
        assert done.returncode == 2
        assert said in done.stdout + done.stderr
        assert "Traceback" not in done.stderr


def test_bad_paths(files: Path) -> None:
    """A path that is not there, or a directory without cases, is a mistake."""
    policy = files / "policy.yaml"
    (files / "empty").mkdir()
    for cases, said in (("none.yaml", "cannot read the cases"), ("empty", "there is no case")):
        done = portwatch("test", policy, files / cases)
        assert done.returncode == 2
        assert said in done.stderr
    assert portwatch("test", policy).returncode == 2
