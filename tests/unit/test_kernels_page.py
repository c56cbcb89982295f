"""docs/kernels.md is made from what kernels gave when they were tested, and tells nothing else."""

from __future__ import annotations

from kernel_page import BEGIN, DOCS, END, GIVES, PAGE, all_facts, differences, page_of

from portwatch.kernel.features import LOST_WITHOUT, Feature
from portwatch.kernel.uncovered import uncovered

TOLD = all_facts(DOCS / "kernels")


def test_the_page_is_made_from_the_facts() -> None:
    """Made anew, it is what it is."""
    assert page_of(PAGE.read_text(), TOLD) == PAGE.read_text()


def test_old_kernels_come_first() -> None:
    """5.10 before 6.1 before 6.12, whatever their spelling; this machine's own last."""
    assert list(TOLD) == ["5.10", "5.10+lsm", "6.1", "6.12", "7.2", "native"]


def test_every_feature_is_told_of() -> None:
    """What a kernel may or may not do has a row, and so has what it costs where it does not."""
    assert GIVES.keys() == LOST_WITHOUT.keys() == set(Feature)


def test_every_gap_is_one_of_portwatchs() -> None:
    """What the kernels lack is named as this version's `portwatch_uncovered` names it."""
    for facts in TOLD.values():
        features = sum(Feature[name] for name in facts["features"])
        assert facts["gaps"] == list(uncovered(features, set(facts["hooks"])))


def test_every_test_passed() -> None:
    """No kernel is on the page whose tests failed, or were not run."""
    for facts in TOLD.values():
        assert facts["tests"]["passed"]
        assert facts["tests"]["failed"] == []


def test_a_kernel_that_gives_less_is_told() -> None:
    """What a later run found is compared hook by hook, feature by feature, gap by gap."""
    told = {"6.1": {"features": ["LSM"], "hooks": ["bind4", "socket_bind"], "gaps": []}}
    given = {"6.1": {"features": [], "hooks": ["bind4"], "gaps": ["sctp"]}}
    assert list(differences(told, given)) == [
        "6.1: features: LSM is gone",
        "6.1: hooks: socket_bind is gone",
        "6.1: gaps: sctp is new",
    ]
    assert list(differences(told, told)) == []


def test_a_page_keeps_what_was_written_by_hand() -> None:
    """Only what stands between the markers is made."""
    made = page_of(f"by hand\n{BEGIN}old\n{END}by hand too\n", TOLD)
    assert made.startswith("by hand\n")
    assert made.endswith("by hand too\n")
    assert "old\n" not in made
