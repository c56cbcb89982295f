"""What it takes to list 10,000 sockets, in a network namespace of their own, and to judge them."""

from __future__ import annotations

import contextlib
import ctypes
import os
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator

from bench.ground import Ground, policy_text
from bench.policy_cost import PORTWATCH
from bench.rows import Row

SOCKETS = 10_000
SOCKETS_EACH = 500
FIRST_PORT = 1024
ROUNDS = 5
CLONE_NEWNET = 0x40000000


def measure(ground: Ground) -> Iterator[Row]:
    """The rows about listeners, timed from outside, from the start of Python to its end."""
    policy = ground.folder / "listeners.yaml"
    policy.write_text(policy_text(1000, "/nobody"))
    with _many_sockets():
        listing = _median_ms([sys.executable, "-m", "bench.listener_cost", "list"])
        command = [*PORTWATCH, "listeners", "--json", "--policy", str(policy)]
        judged = _median_ms(command)
    yield Row(f"listing {SOCKETS:,} sockets with their processes", "ms", listing, 1000)
    yield Row("  the same by `portwatch listeners`, 1,000 constraints", "ms", judged, 1000)


def _median_ms(command: list[str]) -> float:
    figures = []
    for _ in range(ROUNDS):
        start = time.perf_counter()
        done = subprocess.run(command, check=False, capture_output=True)
        figures.append((time.perf_counter() - start) * 1e3)
        assert done.returncode in (0, 1), done.stderr
    return statistics.median(figures)


@contextlib.contextmanager
def _many_sockets() -> Iterator[None]:
    """Processes that have them until their stdin ends."""
    command = [sys.executable, "-m", "bench.listener_cost", "hold"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdin and process.stdout
        assert process.stdout.readline() == b"ready\n"
        try:
            yield
        finally:
            process.stdin.close()


def _hold() -> None:
    """Fork a process for every SOCKETS_EACH, half tcp and half udp, in a new namespace."""
    assert ctypes.CDLL(None).unshare(CLONE_NEWNET) == 0
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
    ready, done = os.pipe()
    for first in range(0, SOCKETS, SOCKETS_EACH):
        if os.fork() == 0:
            opened = [_socket(number) for number in range(first, first + SOCKETS_EACH)]
            os.write(done, b"x")
            sys.stdin.read()
            os._exit(len(opened) != SOCKETS_EACH)
    for _ in range(0, SOCKETS, SOCKETS_EACH):
        os.read(ready, 1)
    print("ready", flush=True)
    sys.stdin.read()


def _socket(number: int) -> socket.socket:
    is_tcp = number % 2 == 0
    opened = socket.socket(socket.AF_INET, socket.SOCK_STREAM if is_tcp else socket.SOCK_DGRAM)
    opened.bind(("127.0.0.1", FIRST_PORT + number))
    if is_tcp:
        opened.listen()
    return opened


def _list() -> None:
    from portwatch.node.listeners import find_listeners

    count = sum(not one.is_host_network for one in find_listeners().listeners)
    assert count >= SOCKETS, count


if __name__ == "__main__":
    {"hold": _hold, "list": _list}[sys.argv[1]]()
