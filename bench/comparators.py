"""The programs that portwatch is compared with, loaded by bcc in a process of their own.

`python -m bench.comparators NAME CGROUP`: attaches and waits for the end of stdin, printing
the run time in ns and the count of runs at each line that it reads.
"""

from __future__ import annotations

import ctypes
import os
import struct
import subprocess
import sys
from pathlib import Path
from types import TracebackType

from portwatch.kernel import hooks, layout, libbpf
from portwatch.kernel.mounts import tracepoint_id

RULES = 128
BIND = (hooks.PROGRAM_CGROUP_SOCK_ADDR, hooks.ATTACH_INET4_BIND)
POST_BIND = (hooks.PROGRAM_CGROUP_SOCK, hooks.ATTACH_INET4_POST_BIND)
EXIT = (hooks.PROGRAM_TRACEPOINT, hooks.ATTACH_PERF_EVENT)
PROGRAMS = {
    "empty": (("empty_bind", *BIND), ("empty_post_bind", *POST_BIND), ("empty_exit", *EXIT)),
    "linear": (("linear_bind", *BIND), ("empty_post_bind", *POST_BIND), ("empty_exit", *EXIT)),
}


class Comparator:
    """A set of programs attached to a cgroup while in the `with` block."""

    def __init__(self, name: str, cgroup: Path) -> None:
        command = [sys.executable, "-m", "bench.comparators", name, str(cgroup)]
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def __enter__(self) -> Comparator:
        self.run_ns()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._process.communicate()

    def run_ns(self) -> int:
        """Nanoseconds spent in the programs so far, by the kernel's BPF statistics."""
        assert self._process.stdin and self._process.stdout
        self._process.stdin.write("\n")
        self._process.stdin.flush()
        return int(self._process.stdout.readline())


def program_run_ns(fd: int) -> int:
    """Run time of one program by the kernel's BPF statistics."""
    return int(libbpf.object_info(fd, libbpf.ProgramInfo()).run_time_ns)


def main(name: str, cgroup: str) -> None:
    """Attach, then answer until stdin ends; the links go with this process."""
    os.environ["BCC_KERNEL_SOURCE"] = str(layout.bpf_directory())
    from bcc import BPF

    rules = libbpf.check(
        libbpf.library().bpf_map_create(libbpf.MAP_ARRAY, b"rules", 4, 8, RULES, None), "rules"
    )
    for index in range(RULES):
        rule = struct.pack("=HHHH", 6, 30000 + index * 10, 30005 + index * 10, 1)
        libbpf.library().bpf_map_update_elem(rules, index.to_bytes(4, "little"), rule, 0)
    flags = ["-Wno-macro-redefined", f"-I{layout.bpf_directory()}", f"-DFD_rules={rules}"]
    module = BPF(src_file=str(Path(__file__).with_name("comparators.c")), cflags=flags)
    target = os.open(cgroup, os.O_RDONLY)
    programs = []
    for function, program_type, attach_type in PROGRAMS[name]:
        expected = -1 if program_type == hooks.PROGRAM_TRACEPOINT else attach_type
        fd = module.load_func(function, program_type, attach_type=expected).fd
        place = target if expected >= 0 else sys_exit_bind()
        link = libbpf.library().bpf_link_create(fd, place, attach_type, None)
        libbpf.check(link, f"attaching {function}")
        programs.append(fd)
    for _ in sys.stdin:
        print(sum(map(program_run_ns, programs)), flush=True)


def sys_exit_bind() -> int:
    """A perf event on the end of bind()."""
    return libbpf.perf_event_of_tracepoint(tracepoint_id(hooks.SYS_EXIT_BIND.target))


def enable_statistics() -> int:
    """Turn BPF statistics on while the returned descriptor is open."""
    library = libbpf.library()
    library.bpf_enable_stats.argtypes = [ctypes.c_int]
    return libbpf.check(library.bpf_enable_stats(0), "BPF statistics")


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2])
