"""A guard on one scratch cgroup, loaded once, and children that bind in it."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from binder import Binder, StartBinder
from guard import Guard
from kernel_facts import LOADED, facts_of
from pinned import DENY
from scratch import remove_cgroup, temporary_cgroup, temporary_pin_dir

from portwatch.kernel import loading
from portwatch.kernel.pins import PinDir


@pytest.fixture(scope="session")
def loaded(request: pytest.FixtureRequest) -> Iterator[tuple[PinDir, Path]]:
    """The programs, loaded once and attached to one scratch cgroup, for all tests to share."""
    with temporary_cgroup() as cgroup, temporary_pin_dir() as pin_dir:
        assert loading.ensure_loaded(pin_dir, cgroup), "a fresh load has to run the loader"
        request.config.stash[LOADED] = facts_of(pin_dir)
        yield pin_dir, cgroup


@pytest.fixture
def start_binder(loaded: tuple[PinDir, Path]) -> Iterator[StartBinder]:
    """Starts binders: in `cgroup`, else in the one that the programs are attached to; at the end
    they go, and with them the cgroups that were made below it."""
    started: list[Binder] = []

    def start(cgroup: Path | None = None, **more: Any) -> Binder:
        started.append(Binder(cgroup or loaded[1], **more))
        return started[-1]

    yield start
    for binder in started:
        binder.close()
    for below in loaded[1].iterdir():
        if below.is_dir():
            remove_cgroup(below)


@pytest.fixture
def guard(loaded: tuple[PinDir, Path], binder: Binder) -> Iterator[Guard]:
    """A guard over the shared pins, nothing counted; the binder's network is the host's to it."""
    pin_dir, cgroup = loaded
    guard = Guard(pin_dir, cgroup, binder.network)
    yield guard
    guard.close()


@pytest.fixture
def binder(start_binder: StartBinder) -> Binder:
    """A child in the attached cgroup and a network of its own."""
    return start_binder()


@pytest.fixture
def scratch_cgroup() -> Iterator[Path]:
    """A cgroup of this test's own, to which nothing is attached."""
    with temporary_cgroup() as directory:
        yield directory


@pytest.fixture
def scratch_pin_dir() -> Iterator[PinDir]:
    """A pin directory of this test's own, with nothing loaded."""
    with temporary_pin_dir() as pin_dir:
        yield pin_dir


@pytest.fixture
def scratch(scratch_cgroup: Path, scratch_pin_dir: PinDir) -> Iterator[tuple[Guard, Binder]]:
    """A load of this test's own, with a deny list live and a child that binds under it."""
    assert loading.ensure_loaded(scratch_pin_dir, scratch_cgroup)
    guard, binder = Guard(scratch_pin_dir, scratch_cgroup), Binder(scratch_cgroup)
    guard.publish(DENY)
    yield guard, binder
    binder.close()
    guard.close()


@pytest.fixture(scope="session")
def native_calls(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """native_calls.c as a shared library, for Binder's request `native`."""
    source = Path(__file__).with_name("native_calls.c")
    library = tmp_path_factory.mktemp("native") / "native_calls.so"
    flags = [
        "-shared",
        "-fPIC",
        "-O1",
        "-pthread",
        "-Wall",
        "-Wextra",
        "-Werror",
        "-Wno-unused-parameter",
    ]
    subprocess.run(["gcc", *flags, "-o", str(library), str(source)], check=True)
    return library
