"""`make fuzz`: policies mutated by the hundred thousand, read as `check` reads them.

Each either loads or is refused with its problems listed: no other exception, no hang, no more than
MAX_MIB in all. Prints what it saw; exit status 1 where a promise was broken, with the file kept.
"""

from __future__ import annotations

import random
import re
import sys
import time
from pathlib import Path

from portwatch.errors import PolicyError
from portwatch.node.accounts import AccountTable
from portwatch.policy.source.load import builtin_sources, parse_policy
from portwatch.policy.tables.compile import compile_policy

COUNT = 100_000
MAX_MIB = 200
MAX_SECONDS = 5.0
NOBODY = AccountTable({}, {})
PAGE = Path(__file__).parents[1] / "docs" / "policy-language.md"
WORD = re.compile(rb"[\w./*@:-]+")
PIECES = [
    *(b"\0", b"\xff\xfe", b"\xef\xbb\xbf", b"\xc3", b"\xed\xa0\x80", b"\x85", "\u2028".encode()),
    *(b"&a ", b"*a", b"<<: ", b"!!python/object:os.system ", b"!!binary ", b"%TAG ! x\n", b"---\n"),
    *(b"[" * 40, b"{" * 40, b"- " * 40, b"9" * 400, b"-1", b"0x10", b"1e9", b".inf", b"~", b"null"),
    *(b"? ", b": ", b"|\n", b">\n", b"'", b'"', b"#", b"\t", b"\r", b"\n\n", b"...\n", b"@", b"`"),
    *(b"0-65536", b"1-0", b"65536", b"::ffff:1.2.3.4/200", b"fe80::1%eth0", b"**", b"[!", b"/**/"),
    *(b"catalog:", b"default", b"all/", b"/tcp", b"ephemeral-1", b"constraints:", b"define: {}"),
]


def seeds() -> list[bytes]:
    """The examples of the language's page, and the built-in policy."""
    examples = [part.partition("```")[0] for part in PAGE.read_text().split("```yaml\n")[1:]]
    built_in = [text if isinstance(text, bytes) else text.encode() for _, text in builtin_sources()]
    return [example.encode() for example in examples] + built_in


def mutated(dice: random.Random, corpus: list[bytes]) -> bytes:
    """A policy with a few of its bytes, words or lines changed, cut, doubled or swapped."""
    text = bytearray(dice.choice(corpus))
    if dice.random() < 0.5:  # what is still YAML gets further
        for _ in range(dice.choice((1, 2, 5))):
            word = dice.choice(list(WORD.finditer(text)))
            text[word.start() : word.end()] = dice.choice(WORD.findall(dice.choice(corpus)))
        return bytes(text)
    for _ in range(dice.choice((1, 1, 2, 3, 8))):
        at = dice.randrange(len(text) + 1)
        end = min(at + dice.choice((1, 2, 5, 20, 200)), len(text))
        kind = dice.randrange(7)
        if kind == 0:
            text[at:at] = dice.choice(PIECES)
        elif kind == 1:
            del text[at:end]
        elif kind == 2:
            text[at:at] = text[at:end] * dice.choice((1, 2, 30))
        elif kind == 3:
            text[at:end] = bytes(dice.randrange(256) for _ in range(end - at))
        elif kind == 4:
            text[at:end] = dice.choice(PIECES)
        elif kind == 5:
            lines = bytes(text).split(b"\n")
            dice.shuffle(lines)
            text[:] = b"\n".join(lines)
        else:
            other = dice.choice(corpus)
            start = dice.randrange(len(other))
            text[at:at] = other[start : start + dice.choice((3, 30, 300))]
    return bytes(text)


def main(count: int, seed: int) -> int:
    """Read `count` of them; the exit status."""
    dice = random.Random(seed)
    corpus = seeds()
    loaded = refused = 0
    worst = 0.0
    began = time.monotonic()
    for number in range(count):
        text = mutated(dice, corpus)
        start = time.perf_counter()
        try:
            compile_policy(parse_policy([("fuzzed.yaml", text)]), NOBODY)
            loaded += 1
        except PolicyError as err:
            refused += 1
            broken = not err.problems or any("\n" in str(problem) for problem in err.problems)
        except BaseException as err:
            return _broken(text, f"{type(err).__name__}: {err}")
        else:
            broken = False
        took = time.perf_counter() - start
        worst = max(worst, took)
        if broken or took > MAX_SECONDS:
            return _broken(
                text, "a problem without a line of its own" if broken else f"{took:.1f} s"
            )
        if number % 1000 == 999 and sys.stderr.isatty():
            print(f"\r{number + 1:,} of {count:,}", end="", file=sys.stderr)
    status = Path("/proc/self/status").read_text()  # getrusage() has what was before exec, too
    mib = int(re.findall(r"VmHWM:\s+(\d+)", status)[0]) / 1024
    print(
        f"{count:,} policies (seed {seed}): {loaded:,} loaded, {refused:,} refused; "
        f"the slowest {worst * 1000:.0f} ms, {mib:.0f} MiB, {time.monotonic() - began:.0f} s"
    )
    return 0 if mib <= MAX_MIB else 1


def _broken(text: bytes, reason: str) -> int:
    kept = Path("fuzzed.yaml")
    kept.write_bytes(text)
    print(f"{reason}; the file is {kept.resolve()}")
    return 1


if __name__ == "__main__":
    given = [int(word) for word in sys.argv[1:]]
    sys.exit(main(*[*given, *(COUNT, 1)[len(given) :]]))
