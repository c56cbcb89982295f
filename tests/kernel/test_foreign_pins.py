"""Pins that are not ours, or not of this version: refused, never read or written."""

from __future__ import annotations

import os

import pytest
from binder import Binder
from guard import Guard
from pinned import (
    opened,
    put_foreign_map,
    rewrite_meta,
)
from refusals import heard

from portwatch.errors import PinMismatch
from portwatch.kernel import libbpf, loading

pytestmark = pytest.mark.native("about files below /sys/fs/bpf, and each a load of its own")


def test_a_layout_of_another_version_is_refused(scratch: tuple[Guard, Binder]) -> None:
    """Maps made under another layout are not touched: PinMismatch says how to be rid of them, and
    what was enforced still is."""
    guard, binder = scratch
    rewrite_meta(guard.pin_dir, source_sha256=bytes(32), layout_sha256=b"\1" * 32)
    with pytest.raises(PinMismatch) as caught:
        loading.ensure_loaded(guard.pin_dir, guard.cgroup)
    assert f"portwatch unload --pin-dir {guard.pin_dir.path}" in caught.value.hint
    assert str(guard.pin_dir.maps / "meta") in caught.value.message
    assert binder.bind(9000) == heard()


@pytest.mark.parametrize("name", ["control", "tables", "violations", "events", "policy"])
def test_a_foreign_map_is_refused(name: str, scratch: tuple[Guard, Binder]) -> None:
    """Somebody else's map under one of our names is never read or written, by no one of us."""
    guard, _ = scratch
    put_foreign_map(guard.pin_dir, name)
    with pytest.raises(PinMismatch) as caught:
        guard.pin_dir.open_map(name)
    assert "unload" in caught.value.hint
    rewrite_meta(guard.pin_dir, source_sha256=bytes(32))
    with pytest.raises(PinMismatch, match=name):
        loading.ensure_loaded(guard.pin_dir, guard.cgroup)
    with pytest.raises(PinMismatch, match=name):
        Guard(guard.pin_dir, guard.cgroup)


def test_a_program_pinned_as_a_map_is_refused(scratch: tuple[Guard, Binder]) -> None:
    """A pin that is no map at all is told apart too."""
    guard, _ = scratch
    with opened(guard.pin_dir.programs / "bind4") as fd:
        (guard.pin_dir.maps / "policy").unlink()
        libbpf.object_pin(fd, str(guard.pin_dir.maps / "policy"))
    with pytest.raises(PinMismatch, match="policy"):
        guard.pin_dir.open_map("policy")


def test_a_corrupt_meta_is_refused(scratch: tuple[Guard, Binder]) -> None:
    """Meta of another size, or full of rubbish, is PinMismatch and not a crash."""
    guard, _ = scratch
    meta = guard.pin_dir.open_map("meta")
    meta.put(bytes(4), os.urandom(meta.value_size))
    meta.close()
    with pytest.raises(PinMismatch):
        loading.ensure_loaded(guard.pin_dir, guard.cgroup)
    put_foreign_map(guard.pin_dir, "meta")
    with pytest.raises(PinMismatch, match="meta"):
        loading.ensure_loaded(guard.pin_dir, guard.cgroup)
