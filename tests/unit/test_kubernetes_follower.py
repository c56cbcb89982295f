"""The pods of a node, followed from a stand-in API server."""

from __future__ import annotations

import json
import select
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace

import pytest
from api_server import ApiServer
from pod_shapes import labelled, pod, uid_of

from portwatch.agent.kubernetes.pod_objects import known_pod
from portwatch.node.kubernetes.back_off import BackOff
from portwatch.node.kubernetes.follower import PodFollower
from portwatch.node.kubernetes.item_stream import ItemStream, TooLarge
from portwatch.node.kubernetes.line_stream import LineStream
from portwatch.node.kubernetes.server import ApiServer as Server
from portwatch.node.kubernetes.server import parse_url
from portwatch.policy.pod import KnownPod

Follower = PodFollower[KnownPod]
WITHIN_SECONDS = 20.0


@pytest.fixture
def api() -> Iterator[ApiServer]:
    """A server without TLS."""
    with closing(ApiServer()) as api:
        yield api


class Heard:
    """What a follower has told so far."""

    def __init__(self, follower: Follower) -> None:
        self.follower = follower
        self.pods: dict[str, KnownPod | None] = {}
        self.listed: list[frozenset[str]] = []

    def until(self, done: Callable[[], object]) -> None:
        """Take news until that is so."""
        deadline = time.monotonic() + WITHIN_SECONDS
        while not done():
            assert time.monotonic() < deadline, (self.follower.state, self.follower.restarts)
            select.select([self.follower], [], [], 0.05)
            news = self.follower.read()
            if news.listed is not None:
                self.listed.append(news.listed)
            self.pods |= news.changed


@pytest.fixture
def heard(api: ApiServer) -> Iterator[Heard]:
    """A follower that has not begun."""
    follower = Follower(Server(parse_url(api.url)), "node-1", known_pod, BackOff(0.01, 0.05))
    with closing(follower):
        yield Heard(follower)


def test_pages_are_one_list(api: ApiServer, heard: Heard) -> None:
    """A list that comes in pages is one list, of this node's pods only."""
    given = [pod() for _ in range(120)]
    for one in (*given, pod(node="node-2")):
        api.put(one)
    api.trouble.page_limit_in_memory = True
    heard.follower.start()
    heard.until(lambda: heard.listed)
    assert heard.listed == [frozenset(map(uid_of, given))]
    assert [one.parameters.get("limit") for one in api.lists] == ["50"] * 3
    assert "continue" in api.lists[2].parameters
    assert "resourceVersion" not in api.lists[2].parameters


def test_a_page_that_is_gone_begins_a_consistent_list(api: ApiServer, heard: Heard) -> None:
    """Where the server's own memory is too old twice, it is asked for what is really there."""
    api.put(pod())
    api.trouble.gone_watches = 2
    heard.follower.start()
    heard.until(lambda: api.watches)
    versions = [one.parameters.get("resourceVersion") for one in api.lists]
    assert versions[0] == "0"
    assert versions[1:] == [None, None]
    assert heard.follower.restarts["gone"] == 2


def test_a_server_from_a_backup(api: ApiServer, heard: Heard) -> None:
    """A server whose versions are lower than those that were seen is listed anew all the same."""
    heard.follower.start()
    heard.until(lambda: api.watches)
    heard.follower._newest = "999999"
    api.compact()
    api.drop_watches()
    api.put(given := pod())
    heard.until(lambda: uid_of(given) in heard.pods)


def test_what_changes_and_goes(api: ApiServer, heard: Heard) -> None:
    """A change, a deletion and a bookmark are told in order, and a deletion as None."""
    given = pod()
    api.put(given)
    heard.follower.start()
    heard.until(lambda: api.watches)
    api.put(labelled(given, app="web"))
    heard.until(lambda: heard.pods[uid_of(given)].labels == (("app", "web"),))
    api.bookmark()
    api.delete(given)
    heard.until(lambda: heard.pods[uid_of(given)] is None)


def test_many_changes_are_one(api: ApiServer, heard: Heard) -> None:
    """Whoever is slow to read finds the last state of each pod, not its history."""
    given = pod()
    heard.follower.start()
    heard.until(lambda: api.watches)
    for number in range(100):
        api.put(labelled(given, app=f"a{number}"))
    heard.until(
        lambda: heard.pods.get(uid_of(given)) and heard.pods[uid_of(given)].labels[0][1] == "a99"
    )


@pytest.mark.parametrize(
    ("status", "reason"),
    [(401, "unauthorized"), (403, "unauthorized"), (429, "busy"), (500, "server"), (503, "server")],
)
def test_a_refusal_is_waited_out(api: ApiServer, heard: Heard, status: int, reason: str) -> None:
    """Each refusal is counted by its kind, told in words, and asked again after."""
    api.trouble.status = status
    heard.follower.start()
    heard.until(lambda: heard.follower.restarts[reason])
    heard.until(lambda: heard.follower.state.problem)
    assert str(status) in (heard.follower.state.problem or "")
    api.trouble.status = 0
    api.put(given := pod())
    heard.until(lambda: uid_of(given) in heard.pods)
    heard.until(lambda: heard.follower.state.problem is None)


@pytest.mark.parametrize("line", [b"}{\n", b"\xff\n", b'{"type":"ADDED"}\n', b"[" * 5000 + b"\n"])
def test_nonsense_begins_anew(api: ApiServer, heard: Heard, line: bytes) -> None:
    """A line that is no event ends the watch, which goes on from where it was."""
    heard.follower.start()
    heard.until(lambda: api.watches)
    api.say(line)
    heard.until(lambda: heard.follower.restarts["protocol"])
    api.put(given := pod())
    heard.until(lambda: uid_of(given) in heard.pods)
    assert len(api.lists) == 1


def test_nobody_there(heard: Heard, api: ApiServer) -> None:
    """A server that is away is asked again and again, and the end is not held up by it."""
    api.close()
    heard.follower.start()
    heard.until(lambda: heard.follower.restarts["network"] > 2)
    assert not heard.follower.state.contact_seconds


def test_the_end_does_not_wait_for_a_server(heard: Heard, api: ApiServer) -> None:
    """A follower ends while a server has not answered yet."""
    api.trouble.hang = True
    heard.follower.start()
    heard.until(lambda: api.asked)
    heard.follower.close()
    assert not heard.follower._thread.is_alive()


def test_a_certificate_of_nobodys(tmp_path, api: ApiServer) -> None:
    """A server that the CA does not vouch for is told nothing, least of all the token."""
    from shutil import which

    if not which("openssl"):
        pytest.skip("openssl makes the certificates")
    import subprocess

    pairs = []
    for name in ("api", "other"):
        files = tmp_path / f"{name}.pem", tmp_path / f"{name}.key"
        command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt"]
        command += ["ec_paramgen_curve:P-256", "-nodes", "-days", "1", "-subj", f"/CN={name}"]
        command += ["-addext", "subjectAltName=IP:127.0.0.1"]
        command += ["-out", str(files[0]), "-keyout", str(files[1])]
        subprocess.run(command, check=True, capture_output=True)
        pairs.append(files)
    with closing(ApiServer("secret", pairs[0])) as secure:
        server = Server(parse_url(secure.url), ca_file=pairs[1][0], token="secret")
        with closing(Follower(server, "node-1", known_pod, BackOff(0.01, 0.05))) as follower:
            follower.start()
            heard = Heard(follower)
            heard.until(lambda: follower.restarts["tls"])
            assert "certificate" in (follower.state.problem or "")
        assert secure.asked == []
        trusted = replace(server, ca_file=pairs[0][0])
        with closing(Follower(trusted, "node-1", known_pod, BackOff(0.01, 0.05))) as follower:
            follower.start()
            Heard(follower).until(lambda: follower.state.listed)
        assert {one.token for one in secure.asked} == {"secret"}


@pytest.mark.parametrize("size", [1, 7, 64, 1 << 20])
def test_items_are_cut_out_of_a_list(size: int) -> None:
    """Whatever the pieces it comes in, a list's items are found, and the rest is what is left."""
    odd = {"name": 'x"}]{[\\', "items": [[], [1, {"items": [2]}]]}
    for around in ({"metadata": {"resourceVersion": "5", "continue": "abc"}}, {"kind": "items"}):
        for whole in ({**around, "items": [odd, {}, odd]}, {"items": [], **around}):
            text = json.dumps(whole).encode()
            stream = ItemStream()
            found = [
                json.loads(item)
                for at in range(0, len(text), size)
                for item in stream.feed(text[at : at + size])
            ]
            assert found == whole["items"]
            assert json.loads(stream.envelope) == {**whole, "items": []}


def test_an_item_that_is_too_long() -> None:
    """It is left out and counted; a text without an end is refused before it is kept."""
    stream = ItemStream(max_object=1000)
    text = json.dumps({"items": [{"a": 1}, {"b": ["x" * 90] * 50}, {"c": 2}]}).encode()
    found = [item for at in range(0, len(text), 64) for item in stream.feed(text[at : at + 64])]
    assert (found, stream.skipped) == ([b'{"a": 1}', b'{"c": 2}'], 1)
    with pytest.raises(TooLarge):
        list(ItemStream(max_object=1000).feed(b'{"items": [{"a": "' + b"x" * 2000))


def test_a_line_that_is_too_long() -> None:
    """It is left out and counted, and the line after it is whole."""
    lines = LineStream(10)
    pieces = [
        b"abc\nde",
        b"f\n" + b"x" * 8,
        b"x" * 8,
        b"x" * 8 + b"\nshort\n\n",
        b"y" * 20 + b"\nz\n",
    ]
    assert [line for piece in pieces for line in lines.feed(piece)] == [
        b"abc",
        b"def",
        b"short",
        b"z",
    ]
    assert lines.take_skipped() == 2
    assert lines.take_skipped() == 0


def test_waits_grow_and_differ() -> None:
    """Each wait is about twice the last, up to a bound, and no two nodes wait alike."""
    waits = [BackOff(0.5, 30) for _ in range(20)]
    for longest in (0.5, 1, 2, 4, 8, 16, 30, 30):
        found = [one.next() for one in waits]
        assert all(longest / 2 <= wait <= longest for wait in found)
        assert len(set(found)) > 1
    waits[0].reset()
    assert waits[0].next() <= 0.5
