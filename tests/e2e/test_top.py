"""`portwatch top` on a terminal: what it shows, what keys do, and the terminal as it was."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from binder import Bind, Binder
from sandbox import Sandbox
from terminal_screen import TerminalScreen

from portwatch.cli.screen.terminal import ENTER, LEAVE

POLICY = """
version: 1
mode: enforce
define: {{workloads: {{{shop}: {{cgroup: "{home}"}}}}}}
constraints:
  - {{name: etcd, for: {shop}, deny: [2379], reason: kept for etcd}}
  - {{name: trial, mode: record, for: {shop}, deny: [9229]}}
"""


def shop(sandbox: Sandbox) -> str:
    """The workload of one test: counts are by its name."""
    return sandbox.home.name.replace("home", "shop")[:12]


def policy_of(sandbox: Sandbox) -> str:
    """POLICY for the processes of a test."""
    return POLICY.format(home=sandbox.path, shop=shop(sandbox))


Open = Callable[..., TerminalScreen]


@pytest.fixture
def binder(shared: Sandbox) -> Binder:
    """A workload under a policy that denies 2379 and records 9229."""
    policy = shared.policy(policy_of(shared))
    assert shared.run("apply", policy).returncode == 0
    return shared.binder()


@pytest.fixture
def top(shared: Sandbox) -> Iterator[Open]:
    """Starts `top` on the shared pins, on a terminal of its own."""
    with ExitStack() as stack:

        def start(*more: object, **given: object) -> TerminalScreen:
            arguments = ["top", "--pin-dir", shared.pin_dir, "--interval", "0.2", *more]
            screen = TerminalScreen(arguments, **given)  # type: ignore[arg-type]
            stack.callback(screen.close)
            return screen

        yield start


def test_real_binds_show_with_exact_counts(shared: Sandbox, binder: Binder, top: Open) -> None:
    """Of 23 denied, 5 recorded and 7 allowed binds the screen has just these numbers, denied first,
    and it goes on counting."""
    binder.answers([Bind(2379)], times=23)
    binder.answers([Bind(9229)], times=5)
    binder.answers([Bind(18080)], times=7)
    screen = top("--filter", shop(shared))
    assert screen.see("denied", shop(shared), "2379/tcp").split()[4] == "23"
    assert screen.see("recorded", "9229/tcp").split()[4] == "5"
    assert screen.see("allowed", "18080/tcp").split()[4] == "7"
    rows = [line.split() for line in screen.text.splitlines() if f"{shop(shared)} " in line]
    assert [row[0] for row in rows[:3]] == ["denied", "recorded", "allowed"]
    assert "etcd: kept" in screen.see("denied", "2379/tcp", "loopback")
    assert "ENFORCING" in screen.see("hooks", "pins only")
    binder.answers([Bind(2379)], times=4)
    screen.see("denied", "2379/tcp", " 27 ")


def test_keys(shared: Sandbox, binder: Binder, top: Open) -> None:
    """Filter, verdicts, order, selection, explanation and help do what the help says."""
    binder.answers([Bind(2379)], times=2)
    binder.answers([Bind(18081), Bind(18082), Bind(18082)])
    screen = top()
    screen.press("/18082")
    screen.see("filter: 18082")
    screen.wait_for(lambda: not screen.line_with("18081/tcp"), "row but that of 18082")
    screen.press("\r")
    screen.see("filter 18082", "1 of")
    screen.press("\x1b")
    screen.wait_for(lambda: not screen.line_with("filter 18082"), "rows without a filter")
    screen.press(f"/{shop(shared)}\r")
    screen.see("18081/tcp")
    screen.press("v")
    screen.see("only denied")
    screen.wait_for(lambda: not screen.line_with("allowed   "), "denied rows only")
    screen.press("\r")
    screen.see("denied by etcd: bind() fails with EACCES")
    screen.see("this workload may bind, of tcp")
    screen.press("q")
    screen.see("VERDICT▼")
    screen.press(">>")
    screen.see("PORT▼")
    screen.press("r")
    screen.see("PORT▲")
    screen.press("h")
    screen.see("previous column to sort by")
    screen.press("\x1b")
    screen.press("p")
    screen.see("PAUSED")
    screen.press("q")
    assert screen.ended() == 0


def test_a_running_agent_is_named(shared: Sandbox, top: Open) -> None:
    """With an agent its pid is in the head; once it has ended, that only the pins are left."""
    agent = shared.agent(shared.policy(policy_of(shared)), "--keep")
    screen = top()
    screen.see(f"agent {agent.pid}")
    assert agent.end() == 0
    screen.see("no agent, pins only")


def test_names_do_not_speak_to_the_terminal(shared: Sandbox, binder: Binder, top: Open) -> None:
    """A cgroup's name that holds escape sequences is shown, not obeyed; so is one of wide letters,
    whose line is not longer than the screen."""
    for number, name in enumerate(("evil\x1b]0;owned\x07\x1b[2J", "データベースのサービス")):
        shared.make(name)
        other = shared.binder(shared.home / name)
        other.bind(18090 + number)
    screen = top("--filter", "1809*", columns=60)
    assert "owned��[2J" in screen.see("18090/tcp")
    screen.see("18091/tcp", "サ")
    screen.press("\r")
    screen.see("cgroup", "evil")
    assert b"\x1b]" not in screen.output
    assert screen.screen.title == ""


def test_a_window_changes_its_size(shared: Sandbox, binder: Binder, top: Open) -> None:
    """Narrow, low, tiny and wide again: what fits is shown, and nothing breaks."""
    binder.answers([Bind(2379)])
    screen = top("--filter", shop(shared))
    screen.see("CONSTRAINT")
    for columns, lines in ((40, 10), (12, 3), (1, 1)):
        screen.resize(columns, lines)
        screen.wait_for(lambda: screen.read(0.1), "new frame")
        assert screen.process.poll() is None
    screen.resize(140, 30)
    screen.see("denied", "2379/tcp", "etcd: kept for etcd", "[")
    screen.see("PROCESS")


@pytest.mark.parametrize(
    ("way", "status"),
    [("q", 0), ("\x03", 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)],
    ids=["q", "ctrl-c", "sigterm", "sighup"],
)
def test_the_terminal_is_as_it_was(top: Open, way: str | signal.Signals, status: int) -> None:
    """However it ends, echo, line mode, cursor, wrapping and the first screen are back."""
    screen = top()
    screen.see("VERDICT")
    assert screen.settings != screen.settings_before
    assert ENTER in screen.output
    if isinstance(way, str):
        screen.press(way)
    else:
        screen.process.send_signal(way)
    assert screen.ended() == status
    assert screen.settings == screen.settings_before
    assert screen.output.rstrip().endswith(LEAVE)


def test_a_crash_gives_the_terminal_back(top: Open, tmp_path: Path) -> None:
    """Even an error that nobody thought of leaves the terminal as it was."""
    (tmp_path / "sitecustomize.py").write_text(
        "import portwatch.cli.screen.view as view\n"
        "def fail(*_):\n    raise ZeroDivisionError('on purpose')\n"
        "view.View.next_word = fail\n"
    )
    screen = top(PYTHONPATH=str(tmp_path))
    screen.see("VERDICT")
    screen.press("v")
    assert screen.ended() == 1
    assert screen.settings == screen.settings_before
    assert screen.output.index(LEAVE) < screen.output.index(b"on purpose")


def test_stop_and_go_on(top: Open) -> None:
    """Ctrl-Z gives the terminal to the shell, and `fg` takes it again, whole."""
    screen = top(before=["bash", "-mc", '"$@"; echo is stopped; read -r; fg', "bash"])
    screen.see("VERDICT")
    screen.press("\x1a")
    screen.see("is stopped")
    assert LEAVE in screen.output
    assert screen.settings == screen.settings_before
    screen.press("\r")
    screen.wait_for(lambda: screen.settings != screen.settings_before, "settings of its own")
    screen.press("q")
    assert screen.ended() == 0
    assert screen.settings == screen.settings_before


def test_at_rest_little_is_sent(top: Open) -> None:
    """A frame is one piece, marked as a synchronised update, and has only what differs."""
    screen = top()
    screen.see("VERDICT")
    screen.wait_for(lambda: screen.output.count(b"\x1b[?2026h") > 5, "frames")
    whole, *later = screen.output.split(b"\x1b[?2026h")[1:]
    assert whole.count(b";1H") == 24
    assert min(frame.count(b";1H") for frame in later) <= 2
    assert all(b"\x1b[2J" not in frame for frame in later)


def test_without_colours(binder: Binder, top: Open) -> None:
    """NO_COLOR leaves the words, and not one colour."""
    binder.answers([Bind(2379)])
    screen = top("--filter", "2379", NO_COLOR="1")
    screen.see("denied", "2379/tcp")
    colours = {cell.fg for line in screen.screen.buffer.values() for cell in line.values()}
    assert colours == {"default"}


def test_a_dumb_terminal_gets_a_plain_table(top: Open) -> None:
    """TERM=dumb cannot be drawn on: tables, one after another, without an escape sequence."""
    screen = top("--count", "2", TERM="dumb")
    assert screen.ended() == 0
    assert screen.output.count(b"VERDICT") == 2
    assert not [part for part in screen.output.split(b"\x1b")[1:] if not part.startswith(b"[K")]


def test_nothing_is_loaded_any_more(sandbox: Sandbox) -> None:
    """Where links and then all pins go while it looks on, it says so in place of what was in force,
    and shows them when they are back."""
    policy = sandbox.policy(policy_of(sandbox))
    sandbox.load(policy)
    screen = TerminalScreen(["top", "--pin-dir", sandbox.pin_dir, "-d", "0.2"])
    try:
        screen.see("ENFORCING", "hooks")
        for link in (sandbox.pin_dir / "links").iterdir():
            link.unlink()
        screen.see("NOT WHOLE: bind4, bind6, post_bind4, post_bind6 gone")
        assert sandbox.run("unload").returncode == 0
        screen.see(f"nothing is loaded at {sandbox.pin_dir}")
        sandbox.load(policy)
        screen.wait_for(lambda: not screen.line_with("nothing is loaded"), "the pins again")
        screen.press("q")
        assert screen.ended() == 0
    finally:
        screen.close()
    assert os.path.exists(sandbox.pin_dir)
