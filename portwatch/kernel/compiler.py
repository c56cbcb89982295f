"""Compiles bpf/*.c; the only code that imports bcc, and with it LLVM. For the loader alone.

The files are compiled side by side, since that is most of what a cold start takes.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from multiprocessing import get_context
from multiprocessing.connection import Connection

from portwatch.errors import KernelError
from portwatch.kernel import layout


def compile_files(
    files: Mapping[str, Sequence[str]], flags: Sequence[str]
) -> Iterator[dict[str, bytes]]:
    """The instructions of each function, by name, for files → functions; file by file, so that
    what has been compiled can be loaded while the next is under way. KernelError.

    Instructions refer to maps by descriptors of this process, which `flags` name.
    """
    here, *beside = files
    waiting = [_begin(file, files[file], flags) for file in beside]
    yield _compile(here, files[here], flags)
    for file, answer in zip(beside, waiting, strict=True):
        try:
            compiled = answer.recv()
        except EOFError as err:
            raise KernelError(f"compiling {file} ended early", hint="portwatch doctor") from err
        if isinstance(compiled, KernelError):
            raise compiled
        yield compiled


def _begin(file: str, functions: Sequence[str], flags: Sequence[str]) -> Connection:
    """A process of its own, which ends when it has answered, whoever is still there to hear it."""
    context = get_context("fork")  # nothing runs yet that a fork would tear
    answer, sender = context.Pipe(duplex=False)
    context.Process(target=_answer, args=(sender, file, functions, flags), daemon=True).start()
    sender.close()
    return answer


def _answer(sender: Connection, file: str, functions: Sequence[str], flags: Sequence[str]) -> None:
    try:
        sender.send(_compile(file, functions, flags))
    except KernelError as err:
        sender.send(err)


def _compile(file: str, functions: Sequence[str], flags: Sequence[str]) -> dict[str, bytes]:
    source = layout.bpf_directory()
    os.environ["BCC_KERNEL_SOURCE"] = str(source)  # its include/: no kernel headers needed
    try:
        from bcc import BPF
    except ImportError as err:
        raise KernelError(
            "bcc is missing from this Python", hint="apt-get install python3-bpfcc"
        ) from err
    path = str(source / file)
    try:
        module = BPF(src_file=path, cflags=[f"-I{source}", *flags])
        return {name: bytes(module.dump_func(name)) for name in functions}
    except Exception as err:  # bcc raises nothing more precise
        raise KernelError(f"bcc cannot compile {path}: {err}", hint="portwatch doctor") from err
