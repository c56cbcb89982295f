"""Errands: children that answer once, hang, fail or say what is no JSON."""

from __future__ import annotations

import os
import select
import time
from typing import Any

import pytest

from portwatch.errors import PortwatchError
from portwatch.node.errand import Errand


def echo(request: object, **more: Any) -> Errand[Any]:
    """A child that answers with its request: `python -m json.tool`."""
    return Errand("the echo", "json.tool", [], lambda answered: answered, request, **more)


def test_the_answer_is_what_the_child_says() -> None:
    """The request goes in as JSON, however long, and the answer comes out as JSON."""
    request = {"many": list(range(100_000))}
    assert echo(request).wait() == request


def test_nothing_waits_for_it() -> None:
    """A loop that selects on it learns when there is something to read, and then the result."""
    errand = echo("hello")
    assert not errand.read()
    while not errand.read():
        assert select.select([errand], [], [], 10)[0]
    assert errand.result() == "hello"


def test_an_error_of_the_childs_is_the_parents() -> None:
    """Message and hint are handed on."""
    with pytest.raises(PortwatchError) as caught:
        echo({"error": "it broke", "hint": "mend it"}).wait()
    assert (caught.value.message, caught.value.hint) == ("it broke", "mend it")


def test_a_child_that_hangs_is_ended() -> None:
    """After its time it is killed, and the error says how long that was."""
    sleep = ["-n", "1", "-r", "1", "import time; time.sleep(60)"]
    errand: Errand[Any] = Errand("the nap", "timeit", sleep, lambda a: a, timeout_seconds=0.3)
    start = time.monotonic()
    with pytest.raises(PortwatchError, match=r"the nap: no answer within 0.3 seconds"):
        errand.wait()
    assert time.monotonic() - start < 10


def test_a_child_that_fails_says_why_in_one_line() -> None:
    """The last line of its stderr, never its traceback."""
    with pytest.raises(PortwatchError) as caught:
        Errand("the work", "portwatch.no_such_module", [], lambda a: a).wait()
    assert "the work gave no answer" in caught.value.message
    assert "no_such_module" in caught.value.message
    assert "\n" not in caught.value.message


def test_an_answer_of_another_shape_is_an_error() -> None:
    """What cannot be parsed is no result."""
    errand = Errand("the echo", "json.tool", [], lambda a: int(a["port"]), {"port": "x"})
    with pytest.raises(PortwatchError, match="the echo gave no answer"):
        errand.wait()


def test_ending_it_leaves_nothing() -> None:
    """A child that is not wanted any more is gone, and its descriptors with it."""
    before = len(os.listdir("/proc/self/fd"))
    sleep = ["-n", "1", "-r", "1", "import time; time.sleep(60)"]
    errand: Errand[Any] = Errand("the nap", "timeit", sleep, lambda a: a)
    errand.close()
    errand.close()
    assert len(os.listdir("/proc/self/fd")) == before
