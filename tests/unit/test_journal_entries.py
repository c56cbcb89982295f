"""What goes to the journal, decoded by the rules of its native protocol."""

from __future__ import annotations

import socket
from contextlib import closing
from pathlib import Path

import pytest

from portwatch.agent.events.journal import (
    MAX_FIELD_BYTES,
    MESSAGE_IDS,
    JournalEvents,
    encode_entry,
    is_journal,
    journal_fields,
)
from portwatch.agent.events.kinds import EVENT_KINDS


def decode(entry: bytes) -> dict[str, bytes]:
    """A datagram's fields."""
    fields = {}
    while entry:
        line, _, entry = entry.partition(b"\n")
        name, equals, value = line.partition(b"=")
        if not equals:
            size = int.from_bytes(entry[:8], "little")
            value, end, entry = entry[8 : 8 + size], entry[8 + size : 9 + size], entry[9 + size :]
            assert end == b"\n"
        fields[name.decode()] = value
    return fields


def listening(path: Path) -> socket.socket:
    """A journal's socket."""
    path.unlink(missing_ok=True)
    journal = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    journal.bind(str(path))
    journal.settimeout(5)
    return journal


def test_every_kind_of_event_has_an_id_of_its_own() -> None:
    """Filters and catalogs tell the kinds apart by a number that never changes."""
    assert set(MESSAGE_IDS) == set(EVENT_KINDS)
    assert len(set(MESSAGE_IDS.values())) == len(MESSAGE_IDS)
    assert all(len(bytes.fromhex(number)) == 16 for number in MESSAGE_IDS.values())


def test_no_value_becomes_a_field() -> None:
    """Newlines and signs of equality in what a process chose for itself stay in its value."""
    event = {"kind": "bind", "verdict": "allowed", "workload": {"name": "a\nPRIORITY=0\n=b"}}
    fields = decode(encode_entry(journal_fields(event, "one\ntwo=\n")))
    assert fields["PORTWATCH_WORKLOAD"] == b"a\nPRIORITY=0\n=b"
    assert fields["MESSAGE"] == b"one\ntwo=\n"
    assert fields["PRIORITY"] == b"6"


@pytest.mark.parametrize("text", ["x" * 100_000, "\n" * 100_000, "\udcff€"])
def test_an_entry_fits_a_datagram(text: str) -> None:
    """However long a refusal is, and whatever its bytes."""
    entry = encode_entry(journal_fields({"kind": "policy", "result": "refused"}, text))
    assert len(decode(entry)["MESSAGE"]) <= MAX_FIELD_BYTES


def test_a_journal_that_was_away_is_told_how_many_it_missed(tmp_path: Path) -> None:
    """While the journal is restarted entries are counted, and then told as lost, exactly."""
    path = tmp_path / "socket"
    journal = listening(path)
    with closing(JournalEvents(str, path)) as events, events.outlet:
        events.write({"kind": "lost", "count": 1}, b"")
        assert decode(journal.recv(65536))["PORTWATCH_COUNT"] == b"1"
        journal.close()
        for _ in range(3):
            events.write({"kind": "lost", "count": 10}, b"")
        while events.outlet.missed < 3:
            pass
        with listening(path) as back:
            events.write({"kind": "lost", "count": 20}, b"")
            counts = [decode(back.recv(65536))["PORTWATCH_COUNT"] for _ in range(2)]
    assert counts == [b"3", b"20"]


def test_stdout_is_the_journal_where_systemd_says_so(tmp_path: Path) -> None:
    """By device and inode: a variable that was inherited by somebody else's child says nothing."""
    with (tmp_path / "file").open("w") as file:
        opened = (tmp_path / "file").stat()
        assert is_journal(file.fileno(), f"{opened.st_dev}:{opened.st_ino}")
        assert not is_journal(file.fileno(), f"{opened.st_dev}:{opened.st_ino + 1}")
        assert not is_journal(file.fileno(), "")
    assert not is_journal(-1, "1:1")
