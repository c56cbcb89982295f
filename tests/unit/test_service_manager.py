"""What systemd is told, read from the socket that it would have."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from portwatch.node.service_manager import ServiceManager


@pytest.fixture
def systemd(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[socket.socket]:
    """Its end of the notify socket."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as end:
        end.bind(str(tmp_path / "notify"))
        end.setblocking(False)
        monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
        yield end


def test_a_life(systemd: socket.socket) -> None:
    """Ready with its status, reloading with the time that systemd asks for, and stopping."""
    service = ServiceManager()
    service.ready("all well")
    service.reloading()
    service.stopping()
    assert systemd.recv(999) == b"READY=1\nSTATUS=all well"
    assert systemd.recv(999).startswith(b"RELOADING=1\nMONOTONIC_USEC=")
    assert systemd.recv(999) == b"STOPPING=1"


def test_signs_of_life(systemd: socket.socket, monkeypatch: pytest.MonkeyPatch) -> None:
    """The watchdog hears four times in its time, however often the loop turns."""
    monkeypatch.setenv("WATCHDOG_USEC", "8000000")
    service = ServiceManager()
    for tenth in range(80):
        service.alive(100 + tenth / 10)
    assert [systemd.recv(999) for _ in range(4)] == [b"WATCHDOG=1"] * 4
    with pytest.raises(BlockingIOError):
        systemd.recv(999)


def test_a_watchdog_of_another_process(
    systemd: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A child that inherited the environment says nothing in its parent's name."""
    monkeypatch.setenv("WATCHDOG_USEC", "8000000")
    monkeypatch.setenv("WATCHDOG_PID", str(os.getppid()))
    ServiceManager().alive(100)
    with pytest.raises(BlockingIOError):
        systemd.recv(999)


def test_a_systemd_that_does_not_read(systemd: socket.socket) -> None:
    """Nothing ever waits for systemd: what does not fit its buffer is dropped."""
    service = ServiceManager()
    for _ in range(5000):
        service.ready("x" * 1000)


def test_without_systemd(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody is told anything."""
    monkeypatch.delenv("NOTIFY_SOCKET", raising=False)
    ServiceManager().ready("all well")
