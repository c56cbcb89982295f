"""What a hurried or hostile user types: the right status, a message, never a traceback."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path

import pytest
from product import PORTWATCH, portwatch, run_command
from sandbox import ATTACHED, Sandbox, denying

NOWHERE = "/sys/fs/bpf/portwatch-e2e-nowhere"
LONG_NUMBER = "9" * 5000

# What is typed, the exit status, what stderr has to say. {good} is a good policy, {empty} an
# empty directory, {scratch} a directory with files of the user's.
MISTAKES: list[tuple[list[str], int, str]] = [
    ([], 2, "Usage: portwatch"),
    ([""], 2, "No such command"),
    (["🦀"], 2, "No such command"),
    (["--nonsense"], 2, "No such option"),
    (["explain", "{good}", "--port", "-1"], 2, "`-1` is no port"),
    (["explain", "{good}", "--port=-1"], 2, "`-1` is no port"),
    (["explain", "{good}", "--port", "0"], 2, "`0` is no port"),
    (["explain", "{good}", "--port", "65536"], 2, "`65536` is no port"),
    (["explain", "{good}", "--port", LONG_NUMBER], 2, "is no port"),
    (["explain", "{good}", "--port", ""], 2, "`` is no port"),
    (["explain", "{good}", "--port", "/"], 2, "`` is no protocol"),
    (["explain", "{good}", "--port", "９０００"], 2, "`９０００` is no port"),
    (["explain", "{good}", "--port", "80/icmp"], 2, "`icmp` is no protocol"),
    (["explain", "{good}", "--port", "80/tcp/udp"], 2, "is no protocol"),
    (["explain", "{good}", "--port", "8000-8010"], 2, "`8000-8010` is no port"),
    (["explain", "{good}", "--port", "1e3"], 2, "`1e3` is no port"),
    (["explain", "{good}", "--port", "ephemeral", "--picked"], 2, "--picked"),
    (["explain", "{good}"], 2, "Missing option '--port'"),
    (["explain", "{good}", "--port", "80", "--address", "localhost"], 2, "is no IP address"),
    (["explain", "{good}", "--port", "80", "--address", ""], 2, "is no IP address"),
    (["explain", "{good}", "--port", "80", "--address", "10.0.0.0/8"], 2, "is no IP address"),
    (["explain", "{good}", "--port", "80", "--address", "1.2.3.4.5"], 2, "is no IP address"),
    (["explain", "{good}", "--port", "80", "--address", "fe80::1%eth0"], 2, "is no IP address"),
    (["explain", "{good}", "--port", "80", "--cgroup", "x"], 2, "begins with `/`"),
    (["explain", "{good}", "--port", "80", "--cgroup", ""], 2, "begins with `/`"),
    (["explain", "{good}", "--port", "80", "--pid", "0"], 2, "0 is not in the range"),
    (["explain", "{good}", "--port", "80", "--pid", "-5"], 2, "-5 is not in the range"),
    (["explain", "{good}", "--port", "80", "--pid", "999999999"], 2, "no process 999999999"),
    (["explain", "{good}", "--port", "80", "--pid", "9" * 30], 2, "no process"),
    (["explain", "{good}", "--port", "80", "--pid", LONG_NUMBER], 2, "not a valid int"),
    (["explain", "{good}", "--port", "80", "--pid", "1", "--unit", "x"], 2, "exclude each other"),
    (["explain", "{good}", "--port", "80", "--user", "no-such-user"], 2, "there is no account"),
    (["explain", "{good}", "--port", "80", "--user", LONG_NUMBER], 2, "there is no account"),
    (["explain", "{good}", "--port", "80", "--user", "4294967296"], 2, "there is no account"),
    (["explain", "{good}", "--port", "80", "--user", "-1"], 2, "there is no account"),
    (["explain", "{good}", "--port", "80", "--group", ""], 2, "there is no account"),
    (["explain", "{good}", "--port", "80", "--network", "mars"], 2, "'mars' is not one of"),
    (["explain", "--port", "80", "--pin-dir", NOWHERE], 3, "nothing is loaded"),
    (["explain", "/no/such/file", "--port", "80"], 2, "cannot read the policy /no/such/file"),
    (["explain", "{good}", "{good}", "--port", "80"], 2, "unexpected extra argument"),
    (["check"], 2, "Missing argument 'PATH'"),
    (["check", ""], 2, "no *.yaml in the policy directory"),
    (["check", "-"], 2, "cannot read the policy -"),
    (["check", "/no/such/file"], 2, "No such file or directory"),
    (["check", "{empty}"], 2, "no *.yaml in the policy directory"),
    (["check", "/dev/null"], 2, "/dev/null:1:1: the file is empty"),
    (["check", "/dev/zero"], 2, "larger than 4 MiB"),
    (["check", "/proc/self/mem"], 2, "cannot read the policy"),
    (["check", "{good}/x"], 2, "Not a directory"),
    (["check", "/" + "x" * 5000], 2, "File name too long"),
    (["check", PORTWATCH], 2, "not YAML"),
    (["check", "/bin/true"], 2, "not UTF-8"),
    (["load", "--policy", "{good}", "--mode", "nonsense"], 2, "'nonsense' is not one of"),
    (["load", "--policy", "{good}", "--mode", ""], 2, "'' is not one of"),
    (["load", "--policy", "", "--pin-dir", NOWHERE], 2, "no *.yaml"),
    (["load", "--policy", "-", "--pin-dir", NOWHERE], 2, "cannot read the policy -"),
    (["load", "{good}"], 2, "unexpected extra argument"),
    (["load", "--policy", "{good}", "--cgroup", "/tmp", "--pin-dir", NOWHERE], 3, "not a cgroup"),
    (["load", "--policy", "{good}", "--cgroup", "", "--pin-dir", NOWHERE], 3, "not a cgroup"),
    (["run", "--policy", "{good}", "--cgroup", "/etc", "--pin-dir", NOWHERE], 3, "not a cgroup"),
    (["run", "--policy", "{good}", "--listen", "nonsense"], 2, "is not ADDR:PORT"),
    (["run", "--policy", "{good}", "--listen", ""], 2, "is not ADDR:PORT"),
    (["run", "--policy", "{good}", "--listen", "127.0.0.1"], 2, "is not ADDR:PORT"),
    (["run", "--policy", "{good}", "--listen", "127.0.0.1:65536"], 2, "is not ADDR:PORT"),
    (["run", "--policy", "{good}", "--listen", "127.0.0.1:-1"], 2, "is not ADDR:PORT"),
    (["run", "--policy", "{good}", "--listen", f"127.0.0.1:{LONG_NUMBER}"], 2, "is not ADDR:PORT"),
    (["run", "--policy", "{good}", "--listen", "127.0.0.1:８０"], 2, "is not ADDR:PORT"),
    (["run", "--policy", "{good}", "--max-series", "0"], 2, "0 is not in the range"),
    (["run", "--policy", "{good}", "--max-series", "many"], 2, "not a valid integer"),
    (["apply"], 2, "Missing argument 'PATH'"),
    (["apply", "{good}", "--pin-dir", NOWHERE], 3, "nothing is loaded"),
    (["apply", "{good}", "--pin-dir", ""], 3, "nothing is loaded"),
    (["apply", "{empty}", "--pin-dir", NOWHERE], 2, "no *.yaml"),
    (["status", "--pin-dir", ""], 3, "nothing is loaded"),
    (["status", "--pin-dir", "/etc/passwd"], 3, "is not a pin"),
    (["status", "--pin-dir", "/" + "x" * 300], 3, ""),
    (["events", "--pin-dir", NOWHERE], 3, "no agent runs on"),
    (["load", "--policy", "{good}", "--pin-dir", "/tmp/portwatch"], 3, "not on a BPF file system"),
    (["run", "--policy", "{good}", "--pin-dir", "/tmp/portwatch"], 3, "choose a --pin-dir below"),
    (["load", "--policy", "{good}", "--pin-dir", "{good}"], 3, "not on a BPF file system"),
    (["unload", "--pin-dir", "{scratch}"], 2, "not on a BPF file system: nothing was removed"),
    (["unload", "--pin-dir", "/"], 2, "nothing was removed"),
    (["unload", "now"], 2, "unexpected extra argument"),
    (["schema", "--policy", "x"], 2, "No such option"),
]


@pytest.mark.parametrize(
    ("typed", "status", "says"),
    MISTAKES,
    ids=[" ".join(typed)[:60].replace("{", "").replace("}", "") for typed, *_ in MISTAKES],
)
def test_mistake(tmp_path: Path, typed: list[str], status: int, says: str) -> None:
    """A mistake ends with its status, says what is wrong on stderr, and changes nothing."""
    good, empty, scratch = (tmp_path / name for name in ("good.yaml", "empty", "scratch"))
    good.write_text(denying(9001))
    empty.mkdir()
    (scratch / "maps").mkdir(parents=True)
    (scratch / "maps" / "mine").write_text("precious")
    words = {"{good}": str(good), "{empty}": str(empty), "{scratch}": str(scratch)}

    def filled(word: str) -> str:
        for name, path in words.items():
            word = word.replace(name, path)
        return word

    done = portwatch(*map(filled, typed), cwd=empty)
    assert "Traceback" not in done.stderr
    assert done.returncode == status, done.stderr
    assert says in done.stderr
    assert done.stderr.strip()
    assert len(done.stderr) < 8000
    assert (scratch / "maps" / "mine").read_text() == "precious"
    assert not Path(NOWHERE).exists()
    assert not Path("/tmp/portwatch").exists()


@pytest.mark.parametrize("name", ["with space.yaml", "new\nline.yaml", "-dash.yaml", "🦀.yaml"])
def test_policy_with_an_odd_name(shared: Sandbox, name: str) -> None:
    """A policy file may be called anything: it is checked, loaded, followed and shown."""
    policy = shared.policy(denying(9001), name)
    assert portwatch("check", policy).returncode == 0
    agent = shared.agent(policy, "--keep")
    assert agent.metric("portwatch_policy_info", source=str(policy)) == 1
    assert shared.status()["policy"]["source"] == str(policy)
    policy.write_text("{")
    done = portwatch("check", policy)
    assert done.returncode == 2
    assert "Traceback" not in done.stderr


def test_policy_with_a_name_of_any_bytes(shared: Sandbox) -> None:
    """A policy's name need not be UTF-8: it loads, and the metrics page stays readable."""
    policy = os.fsencode(shared.folder) + b"/\xff\xfe.yaml"
    Path(os.fsdecode(policy)).write_text(denying(9001))
    checked = run_command([PORTWATCH, "check", policy])
    assert (checked.returncode, checked.stderr) == (0, "")
    agent = shared.agent(Path(os.fsdecode(policy)), "--keep")
    assert agent.metric("portwatch_policy_info") == 1
    assert shared.run("status").returncode == 0
    assert shared.binder().bind(9001) == "EACCES"


def test_relative_and_dotted_paths(shared: Sandbox) -> None:
    """Paths may be relative: policy, events and cgroup mean what the shell means by them."""
    shared.policy(denying(9001))
    done = portwatch(
        *("load", "--policy", "./policy.yaml", "--pin-dir", shared.pin_dir),
        *("--cgroup", f"{shared.cgroup}/../{shared.cgroup.name}"),
        cwd=shared.folder,
    )
    assert done.returncode == 0, done.stderr
    assert shared.binder().bind(9001) == "EACCES"
    assert shared.attached() == list(ATTACHED)


def test_stdin_as_policy(shared: Sandbox) -> None:
    """`check /dev/stdin` reads a policy from a pipe."""
    line = f"printf '{denying(9001)}' | {PORTWATCH} check /dev/stdin"
    done = run_command(["sh", "-c", line])
    assert (done.returncode, done.stderr) == (0, "")
    assert "ok, 1 constraint" in done.stdout


@pytest.mark.parametrize("command", ["run", "load"])
def test_bad_policy_loads_nothing(sandbox: Sandbox, command: str) -> None:
    """A bad policy loads nothing: status 2, every error as file:line:column on stderr."""
    policy = sandbox.policy("version: 1\nconstraints:\n  - {deny: [99999]}\n  - {alow: [1]}\n")
    options = ["--policy", policy, "--cgroup", sandbox.cgroup]
    done = sandbox.run(command, *options)
    assert (done.returncode, done.stdout) == (2, "")
    assert f"{policy}:3:" in done.stderr
    assert f"{policy}:4:" in done.stderr
    assert "`allow`" in done.stderr
    sandbox.assert_nothing_left({})


@pytest.mark.parametrize("command", ["run", "load"])
def test_policy_that_does_not_fit_loads_nothing(sandbox: Sandbox, command: str) -> None:
    """A policy that parses but does not fit the kernel's tables loads nothing either."""
    lines = [
        f"- {{name: c{n}, addresses: [10.{n // 256}.{n % 256}.0/24], deny: [{20000 + n}/tcp]}}\n"
        for n in range(1000)
    ]
    lines += [f"- {{name: p{n}, deny: [{30000 + n}/udp]}}\n" for n in range(20)]
    policy = sandbox.policy("version: 1\nmode: enforce\nconstraints:\n" + "".join(lines))
    done = sandbox.run(command, *sandbox.run_options(policy)[:2], "--policy", policy)
    assert done.returncode == 2, done.stderr
    assert "Traceback" not in done.stderr
    sandbox.assert_nothing_left({})
    assert portwatch("check", policy).returncode == 2


def test_events_to_where_nobody_can_write(sandbox: Sandbox) -> None:
    """`--events` to a path that cannot be written ends with 2, says so, and leaves nothing."""
    policy = sandbox.policy(denying(9001))
    for path in ("/proc/nowhere/events", sandbox.folder, "", "/sys/kernel/events"):
        done = sandbox.run("run", *sandbox.run_options(policy, "--events", path))
        assert done.returncode == 2, path
        assert "cannot write events to" in done.stderr
        assert "hint: choose another --events" in done.stderr
        sandbox.assert_nothing_left({})


@pytest.mark.parametrize("host", ["☃", "a" * 64, "..", "no-such-host.invalid", "300.1.1.1"])
def test_listen_on_no_host(shared: Sandbox, host: str) -> None:
    """`--listen` to what is no host of this machine ends with 2 and one message."""
    policy = shared.policy(denying(9001))
    options = shared.run_options(policy, "--listen", f"{host}:0")
    done = shared.run("run", "--keep", *options)
    assert done.returncode == 2, done.stderr
    assert "Traceback" not in done.stderr
    assert "choose another address with --listen" in done.stderr


def test_listen_on_ipv6(shared: Sandbox) -> None:
    """`--listen [::1]:0` serves on IPv6, and the ready line shows a URL that works."""
    agent = shared.agent(shared.policy(denying(9001)), "--keep", "--listen", "[::1]:0")
    assert agent.url.startswith("http://[::1]:")
    assert agent.page("/healthz")[0] == b"alive\n"


def test_json_errors_are_json(tmp_path: Path) -> None:
    """With `--json` an error is one JSON object on stdout with the message and the hint."""
    for command in (["status"], ["explain", "--port", "80"], ["apply", "/dev/null"]):
        done = portwatch(*command, "--json", "--pin-dir", NOWHERE)
        facts = json.loads(done.stdout)
        assert facts["error"]
        assert done.returncode in (2, 3)
        assert done.stderr == ""


def test_ctrl_c_of_a_follower(shared: Sandbox) -> None:
    """Ctrl-C ends `events -f` quietly."""
    shared.agent(shared.policy(denying(9001)), "--keep")
    command = f"{PORTWATCH} events -f --pin-dir {shared.pin_dir}"
    done = run_command(["timeout", f"-s{int(signal.SIGINT)}", "0.7", *command.split()])
    assert json.loads(done.stdout.splitlines()[0])["kind"] == "policy"
    assert done.stderr.strip() == ""
