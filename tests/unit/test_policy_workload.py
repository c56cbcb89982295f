"""Units, slices and globs: which workloads a selector means."""

from __future__ import annotations

import fnmatch
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from portwatch.policy.tables.subject_classes import PathIndex
from portwatch.policy.words.globs import match_name, match_path
from portwatch.policy.words.places import place_of
from portwatch.policy.workload import Selector, Subject

USER = "/user.slice/user-1000.slice"


@pytest.mark.parametrize(
    ("path", "units", "slices"),
    [
        ("/", (), ()),
        ("/init.scope", ("init.scope",), ()),
        ("/system.slice", (), ("system.slice",)),
        ("/system.slice/nginx.service", ("nginx.service",), ("system.slice",)),
        ("/system.slice/nginx.service/sub/x.service", ("nginx.service",), ("system.slice",)),
        ("/a.slice/a-b.slice/c@1.service", ("c@1.service",), ("a.slice", "a-b.slice")),
        ("/system.slice/_cgroup.service", ("cgroup.service",), ("system.slice",)),
        ("/_a.slice/b.service", ("b.service",), ("a.slice",)),
        ("/system.slice/__x.service", ("_x.service",), ("system.slice",)),
        ("/system.slice/c@.service", (), ("system.slice",)),
        ("/system.slice/@x.service", (), ("system.slice",)),
        ("/system.slice/dev-sda\\x2d1.swap", ("dev-sda\\x2d1.swap",), ("system.slice",)),
        ("/system.slice/ssh.socket", ("ssh.socket",), ("system.slice",)),
        ("/system.slice/nginx.services", (), ("system.slice",)),
        ("/system.slice/n ginx.service", (), ("system.slice",)),
        ("/docker/nginx.service", (), ()),
        ("/.slice/a.service", (), ()),
        ("/-.slice/a.service", ("a.service",), ("-.slice",)),
        ("/a@b.slice/c.service", (), ()),
        ("/system.slice/" + "a" * 248 + ".service", (), ("system.slice",)),
        (
            "/system.slice/" + "a" * 247 + ".service",
            ("a" * 247 + ".service",),
            ("system.slice",),
        ),
        (
            f"{USER}/session-2.scope/x.service",
            ("session-2.scope",),
            ("user.slice", "user-1000.slice"),
        ),
        (
            f"{USER}/user@1000.service/app.slice/app-x.slice/web.service/sub",
            ("user@1000.service", "web.service"),
            ("user.slice", "user-1000.slice", "app.slice", "app-x.slice"),
        ),
        (
            f"{USER}/user@1000.service/init.scope",
            ("user@1000.service", "init.scope"),
            ("user.slice", "user-1000.slice"),
        ),
        (f"{USER}/user@1000.service", ("user@1000.service",), ("user.slice", "user-1000.slice")),
        ("/system.slice/user@x.service/web.service", ("user@x.service",), ("system.slice",)),
    ],
)
def test_units_are_systemds(path: str, units: tuple[str, ...], slices: tuple[str, ...]) -> None:
    """A cgroup path names the units and slices that systemd would say it does."""
    place = place_of(path)
    assert tuple(filter(None, (place.unit, place.user_unit))) == units
    assert (*place.slices, *place.user_slices) == slices


@pytest.mark.parametrize(
    ("pattern", "matching", "others"),
    [
        ("/", ["/", "/a", "/a/b"], []),
        ("/**", ["/", "/a", "/a/b"], []),
        ("/ci", ["/ci", "/ci/a", "/ci/a/b"], ["/", "/cia", "/x/ci"]),
        ("/ci/", ["/ci", "/ci/a"], ["/"]),
        ("/ci/**", ["/ci", "/ci/a", "/ci/a/b"], ["/", "/cia"]),
        ("/ci/*", ["/ci/a", "/ci/a/b"], ["/ci", "/", "/x/a"]),
        ("/c*", ["/ci", "/ci/a", "/c"], ["/", "/x/ci"]),
        ("/*/b", ["/a/b", "/x/b/c"], ["/b", "/a/x/b"]),
        ("/**/b", ["/b", "/a/b", "/a/x/b/c"], ["/a", "/bb"]),
        ("/a/**/b-?/c", ["/a/b-1/c", "/a/x/y/b-2/c/d"], ["/a/b-1", "/a/b-12/c", "/b-1/c"]),
        ("/**/a/**/b", ["/a/b", "/x/a/y/b/z"], ["/b/a", "/a"]),
        ("/[ab]/c", ["/a/c", "/b/c"], ["/c/c", "/ab/c"]),
        ("/[^a]", ["/b"], ["/a"]),
        ("/a?c", ["/abc"], ["/a/c"]),
    ],
)
def test_cgroup_globs(pattern: str, matching: list[str], others: list[str]) -> None:
    """A path pattern matches a cgroup and all below it; `*` stays within a component."""
    index = PathIndex()
    index.add(pattern, 1)
    for path in matching:
        assert match_path(pattern, path), path
        assert index.match(path) == 1, path
    for path in others:
        assert not match_path(pattern, path), path
        assert index.match(path) == 0, path


_parts = st.lists(st.sampled_from(["a", "b", "ab", "*", "a*", "?", "**"]), max_size=5)
_paths = st.lists(st.sampled_from(["a", "b", "ab", "ba"]), max_size=6)


def _matches_slowly(pattern: list[str], path: list[str]) -> bool:
    """Say by trying everything whether a pattern matches a path or one of its ancestors."""
    if not pattern:
        return True
    if pattern[0] == "**":
        return any(_matches_slowly(pattern[1:], path[skip:]) for skip in range(len(path) + 1))
    return (
        bool(path)
        and fnmatch.fnmatchcase(path[0], pattern[0])
        and _matches_slowly(pattern[1:], path[1:])
    )


@given(_parts, _paths)
@settings(derandomize=True, deadline=None, max_examples=600)
def test_path_matching_agrees_with_trying_everything(pattern: list[str], path: list[str]) -> None:
    """The quick matcher and the index find what an exhaustive search does."""
    glob, cgroup = "/" + "/".join(pattern), "/" + "/".join(path)
    expected = _matches_slowly(pattern, path)
    index = PathIndex()
    index.add(glob, 4)
    assert match_path(glob, cgroup) == expected
    assert index.match(cgroup) == (4 if expected else 0)


def test_hostile_names_do_not_slow_matching() -> None:
    """A cgroup name made to make globs backtrack does not: without end, if they did."""
    begin = time.process_time()
    assert not match_name("*a*a*a*a*a*a*b", "a" * 250)
    assert not match_path("/**/*a/**/*a/**/*a/**/b*", "/" + "/".join(["aa"] * 1500))
    assert time.process_time() - begin < 10


@pytest.mark.parametrize(
    ("selector", "matching", "other"),
    [
        (Selector(user=(7,)), Subject(uid=7), Subject(uid=8)),
        (Selector(user=("c*",)), Subject(uid=7, user="ci"), Subject(uid=7)),
        (Selector(user=("*",)), Subject(uid=7, user="ci"), Subject(uid=7)),
        (Selector(group=("staff", 9)), Subject(gid=9), Subject(gid=50)),
        (Selector(user=("toor",)), Subject(user="root", user_aliases=("toor",)), Subject()),
        (
            Selector(unit=("a.service",), user=(7,)),
            Subject("/a.service", 7),
            Subject("/a.service", 8),
        ),
        (Selector(slice=("*-b.slice",)), Subject("/a.slice/a-b.slice"), Subject("/a.slice")),
    ],
)
def test_selectors(selector: Selector, matching: Subject, other: Subject) -> None:
    """All keys of a selector have to match, each by any of its values."""
    assert selector.matches(matching)
    assert not selector.matches(other)
