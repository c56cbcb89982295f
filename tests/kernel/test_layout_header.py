"""bpf/layout.h and portwatch/kernel/layout.py are one layout in two languages."""

from __future__ import annotations

import ctypes
import re
import subprocess
from pathlib import Path

import pytest

from portwatch.kernel import layout

pytestmark = pytest.mark.native("about the compiler")

HEADER = layout.bpf_directory() / "layout.h"
RENAMED = {"class_": "class"}  # a word of Python's
ENUMS = {
    "VERDICT_NAMES": ("ALLOWED", "DENIED", "RECORDED"),
    "PROTOCOL_NAMES": ("ROW_TCP", "ROW_UDP", "ROW_UDPLITE", "ROW_SCTP", "ROW_OTHER", "LABEL_MPTCP"),
    "FAMILY_NAMES": ("IPV4", "IPV6"),
}
C_ONLY = {"MAX_CGROUP_DEPTH"}  # bounds that userspace never meets


def python_fields(record: type[ctypes.Structure]) -> dict[str, tuple[int, int]]:
    """Field → (offset, size), by its name in C."""
    found = {}
    for name, *_ in record._fields_:
        described = getattr(record, name)
        found[RENAMED.get(name, name)] = (described.offset, described.size)
    return found


def python_constants() -> dict[str, int]:
    """Every number that layout.py names."""
    return {name: value for name, value in vars(layout).items() if isinstance(value, int)}


def compiled_lines(tmp_path: Path, statements: list[str]) -> list[str]:
    """What a C program over the header prints; padding anywhere in the header is an error."""
    source = tmp_path / "layout.c"
    body = "\n".join(statements)
    source.write_text(
        f'#include "layout.h"\n#include <stddef.h>\n#include <stdio.h>\n'
        f"int main(void)\n{{\n{body}\nreturn 0;\n}}\n"
    )
    program = tmp_path / "layout"
    include = HEADER.parent
    subprocess.run(
        ["gcc", "-std=gnu11", "-Wall", "-Wpadded", "-Werror", f"-I{include / 'include'}",
         f"-I{include}", "-o", program, source],
        check=True,
    )  # fmt: skip
    done = subprocess.run([program], check=True, capture_output=True, text=True)
    return done.stdout.splitlines()


def numbers(tmp_path: Path, expressions: list[str]) -> dict[str, int]:
    """The value of each C expression."""
    lines = compiled_lines(
        tmp_path, [f'printf("%lld\\n", (long long)({expression}));' for expression in expressions]
    )
    return dict(zip(expressions, map(int, lines), strict=True))


def c_structs() -> dict[str, list[str]]:
    """Struct → its fields in order, as the header declares them."""
    text = re.sub(r"/\*.*?\*/", "", HEADER.read_text(), flags=re.DOTALL)
    return {
        name: re.findall(r"(\w+)(?:\[\w+\])*;", body)
        for name, body in re.findall(r"^struct (\w+) \{(.*?)^\};", text, flags=re.DOTALL | re.M)
    }


def test_every_struct_is_mirrored_field_by_field() -> None:
    """Every struct of the header stands in layout.py with the same fields in the same order."""
    mirrored = {name: list(python_fields(record)) for name, record in layout.RECORDS.items()}
    assert mirrored == c_structs()
    assert len(mirrored) >= 16


@pytest.mark.parametrize("name", layout.RECORDS)
def test_sizes_and_offsets(name: str, tmp_path: Path) -> None:
    """The compiler lays a struct out exactly as Python does: its size, each offset, each width."""
    record = layout.RECORDS[name]
    expressions = [f"sizeof(struct {name})"]
    expected = [ctypes.sizeof(record)]
    for field, (offset, size) in python_fields(record).items():
        expressions += [
            f"offsetof(struct {name}, {field})",
            f"sizeof(((struct {name} *)0)->{field})",
        ]
        expected += [offset, size]
    assert numbers(tmp_path, expressions) == dict(zip(expressions, expected, strict=True))


def test_constants(tmp_path: Path) -> None:
    """Each number that layout.py names has the header's value, and none is missing."""
    defined = set(re.findall(r"^#define (\w+) [\dx]", HEADER.read_text(), flags=re.M))
    ours = python_constants()
    assert defined - C_ONLY <= set(ours)
    assert numbers(tmp_path, list(ours)) == ours


@pytest.mark.parametrize("python_name", ENUMS)
def test_names_stand_at_their_enum_value(python_name: str, tmp_path: Path) -> None:
    """A tuple of names in layout.py is in the order of the header's enum."""
    words = list(ENUMS[python_name])
    assert numbers(tmp_path, words) == {word: index for index, word in enumerate(words)}
    spoken = [re.sub(r"^(ROW|LABEL)_", "", word).lower() for word in words]
    assert spoken == list(getattr(layout, python_name))
