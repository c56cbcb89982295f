"""Who has a port, whatever the state of the socket that has it."""

from __future__ import annotations

import contextlib
import os
import select
from collections.abc import Iterator

import pytest
from binder import Binder

from portwatch.errors import KernelError
from portwatch.node.listeners import Listener, find_holders
from portwatch.node.port_holders import PortQuestion, begin_find_holders

LOOPBACK = "127.0.0.1"
CLOSES_FIRST = """\
import socket
server = socket.create_server(("127.0.0.1", 9000))
client = socket.create_connection(("127.0.0.1", 9000))
connection, _ = server.accept()
connection.close()
client.recv(1)
client.close()
"""


@pytest.fixture
def binder() -> Iterator[Binder]:
    """A process in a network namespace of its own."""
    with contextlib.closing(Binder(None)) as binder:
        yield binder


def holders(binder: Binder, protocol: str, port: int) -> list[Listener]:
    """Who has it in the binder's namespace."""
    return find_holders(os.stat(f"/proc/{binder.pid}/ns/net").st_ino, protocol, port)


def states(binder: Binder, protocol: str, port: int) -> list[str]:
    """The states of its sockets, in the order told."""
    return [one.state for one in holders(binder, protocol, port)]


def bound(binder: Binder, name: str, protocol: str, port: int, *more: object) -> None:
    """Bind a socket of that name, and take more steps."""
    steps = ("socket", protocol, "ipv4"), ("bind", LOOPBACK, port), *more
    assert binder.take(*steps, name=name).said == "ok"


def test_a_listener_comes_first_then_its_connections(binder: Binder) -> None:
    """Each socket that has the port is told, with its process, those that listen first."""
    bound(binder, "server", "tcp", 9000, ("listen",))
    bound(binder, "client", "tcp", 9001, ("connect", LOOPBACK, 9000))
    found = holders(binder, "tcp", 9000)
    assert [one.state for one in found] == ["listen", "established"]
    assert [one.holder.pid if one.holder else None for one in found] == [binder.pid, None]
    assert states(binder, "tcp", 9001) == ["established"]
    assert states(binder, "tcp", 9002) == []


@pytest.mark.since("6.8", "tells of TCP sockets that are bound and no more")
def test_a_socket_that_is_bound_and_no_more_has_its_port(binder: Binder) -> None:
    """It does not listen and has no peer; the next bind fails because of it all the same."""
    bound(binder, "mine", "tcp", 9000)
    bound(binder, "another", "tcp", 9001)
    (found,) = holders(binder, "tcp", 9000)
    assert (found.state, found.port) == ("bound", 9000)
    assert found.holder is not None
    assert found.holder.pid == binder.pid


def test_time_wait_has_the_port_and_no_process(binder: Binder) -> None:
    """After a server has closed a connection first, nobody has the port, and yet it is taken."""
    assert binder.ask(do="run", command=["python3", "-c", CLOSES_FIRST]) == [0, ""]
    (found,) = holders(binder, "tcp", 9000)
    assert (found.state, found.port, found.holder) == ("time-wait", 9000, None)


def test_udp_is_found_connected_or_not(binder: Binder) -> None:
    """Either has the port; protocols do not get into each other's way."""
    bound(binder, "server", "udp", 9000)
    bound(binder, "client", "udp", 9001, ("connect", LOOPBACK, 9000))
    assert states(binder, "udp", 9000) == ["bound"]
    assert states(binder, "udp", 9001) == ["established"]
    assert states(binder, "tcp", 9000) == []


def test_the_agent_asks_a_child_and_waits_for_nothing(binder: Binder) -> None:
    """The same answer comes through a descriptor that a loop can select on."""
    bound(binder, "server", "tcp", 9000, ("listen",))
    expected = holders(binder, "tcp", 9000)
    network = os.stat(f"/proc/{binder.pid}/ns/net").st_ino
    errand = begin_find_holders([PortQuestion(network, "tcp", 9000)])
    while not errand.read():
        assert select.select([errand], [], [], 10)[0]
    assert errand.result() == [expected]
    assert expected[0].holder is not None


def test_what_cannot_be_looked_at_is_an_error(binder: Binder) -> None:
    """A namespace that is gone, a protocol that cannot be listed: said, not an empty answer."""
    with pytest.raises(KernelError, match=r"no network namespace net:\[5\]"):
        find_holders(5, "tcp", 9000)
    with pytest.raises(KernelError, match="protocol `other`"):
        holders(binder, "other", 9000)


def test_of_many_questions_each_has_its_answer(binder: Binder) -> None:
    """In the order asked; one about a namespace that is gone finds nobody, and spoils no other."""
    bound(binder, "server", "tcp", 9000, ("listen",))
    bound(binder, "other", "udp", 9001)
    network = os.stat(f"/proc/{binder.pid}/ns/net").st_ino
    questions = [
        PortQuestion(network, "udp", 9001),
        PortQuestion(5, "tcp", 9000),
        PortQuestion(network, "other", 9000),
        PortQuestion(network, "tcp", 9000),
    ]
    found = begin_find_holders(questions).wait()
    assert [[one.port for one in each] for each in found] == [[9001], [], [], [9000]]
