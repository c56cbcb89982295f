"""Errands that somebody else does: asked for over a unix socket, answered there."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from portwatch.errors import PortwatchError
from portwatch.node.errand import Errand

SERVE = """
import os, sys
from portwatch.node.errand_socket import take_errand
module = take_errand(0, ("json.tool",))
os.execv(sys.executable, [sys.executable, "-m", module])
"""


@pytest.fixture
def office(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[socket.socket]:
    """Does as systemd does with Accept=yes: a process for each connection, which is its stdin."""
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "errands"))
        listener.listen()
        monkeypatch.setenv("PORTWATCH_ERRANDS", str(tmp_path / "errands"))
        yield listener


def serve_one(listener: socket.socket) -> threading.Thread:
    """One errand, done in the background."""

    def work() -> None:
        connection, _ = listener.accept()
        with connection:
            subprocess.run(
                [sys.executable, "-c", SERVE],
                stdin=connection,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                check=False,
            )

    thread = threading.Thread(target=work)
    thread.start()
    return thread


def echo(request: object, module: str = "json.tool", **more: Any) -> Errand[Any]:
    """What answers with its request."""
    return Errand("the echo", module, [], lambda a: a, request, enters_namespaces=True, **more)


def test_an_errand_is_done_elsewhere(office: socket.socket) -> None:
    """The request gets there whole, however long, and the answer comes back."""
    thread = serve_one(office)
    request = ["x" * 100] * 20_000
    assert echo(request).wait() == request
    thread.join()


def test_only_what_is_on_the_list(office: socket.socket) -> None:
    """Another module is not run, and the errand fails with where to look."""
    thread = serve_one(office)
    with pytest.raises(PortwatchError, match="journalctl -u 'portwatch-errand@"):
        echo("x", "http.server").wait()
    thread.join()


def test_nobody_answers(office: socket.socket) -> None:
    """One that is not answered is given up in time."""
    with pytest.raises(PortwatchError, match=r"no answer within 0\.2 seconds"):
        echo("x", timeout_seconds=0.2).wait()


def test_nobody_is_there(office: socket.socket) -> None:
    """No listener is an error of one sentence, and no child is started in its stead."""
    office.close()
    with pytest.raises(PortwatchError, match="cannot start the echo: Connection refused"):
        echo("x")


def test_what_needs_no_privilege_stays_a_child(office: socket.socket) -> None:
    """The socket is for what enters namespaces alone."""
    errand: Errand[Any] = Errand("the echo", "json.tool", [], lambda a: a, os.getpid())
    assert errand.wait() == os.getpid()
