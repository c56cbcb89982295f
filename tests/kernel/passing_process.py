"""Processes that bind once and are gone: passing_process.c, compiled, started in a cgroup."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

SOURCE = Path(__file__).with_suffix(".c")
NAME = "passing"


@dataclass(frozen=True)
class Said:
    """What the process said of itself, in its own pid namespace, and of its bind; and the pid of
    the child that was started, which it is unless something started it in turn."""

    pid: int
    tid: int
    error: int
    child: int


def compile_program(folder: Path) -> Path:
    """The program, called NAME, in a folder that is made."""
    folder.mkdir()
    program = folder / NAME
    flags = ["-O1", "-pthread", "-Wall", "-Wextra", "-Werror"]
    subprocess.run(["gcc", *flags, "-o", str(program), str(SOURCE)], check=True)
    return program


@contextmanager
def started(
    program: Path | str,
    cgroup: Path,
    arguments: Sequence[bytes | str] = (NAME,),
    **environment: object,
) -> Iterator[Said]:
    """One in `cgroup`, with just these arguments, while it lives: with STAY until the end."""
    child = subprocess.Popen(
        list(arguments),
        executable=str(program),
        env={"PATH": os.environ["PATH"], **{key: str(is_) for key, is_ in environment.items()}},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        preexec_fn=lambda: (cgroup / "cgroup.procs").write_text(str(os.getpid())),
    )
    with child:
        assert child.stdin
        assert child.stdout
        line = child.stdout.readline()
        if not line:
            child.stdin.close()
            raise OSError(child.wait(), os.strerror(child.wait()))
        pid, tid, error = map(int, line.split())
        yield Said(pid, tid, error, child.pid)
        child.stdin.close()


def passed(
    program: Path | str,
    cgroup: Path,
    arguments: Sequence[bytes | str] = (NAME,),
    **environment: object,
) -> Said:
    """One that has come and gone, and was waited for."""
    with started(program, cgroup, arguments, **environment) as said:
        pass
    assert not os.path.exists(f"/proc/{said.child}")
    return said
