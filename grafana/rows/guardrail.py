"""Is the guardrail up: enforcing, hooks, policy, events lost."""

from __future__ import annotations

from collections.abc import Iterator

from grafana.about import GREEN, RED, YELLOW, About, AnyPanel
from grafana.graphs import ranking, states
from grafana.links import agent_page, runbook
from grafana.queries import INSTANCE, counted, of
from grafana.tables import COLOURED_CELL, HIDDEN, in_unit, mapped, named, rows
from grafana.tiles import BAD_FROM_ONE, ODD_FROM_ONE, tile

TITLE = "Is the guardrail up?"
ENFORCING = {"0": ("no", RED), "1": ("yes", GREEN)}
ACCEPTED = {"0": ("refused", RED), "1": ("accepted", GREEN)}
ATTACHED = {"0": ("gone", RED), "1": ("attached", GREEN)}
AGE = f"time() - {of('portwatch_policy_last_load_success_timestamp_seconds')}"
LOST = counted(of("portwatch_events_lost_total"), "$__range")


def panels() -> Iterator[AnyPanel]:
    """In reading order."""
    yield tile(
        "Enforcing",
        "Whether a bind can be denied now, on every instance chosen. `no` also where a policy "
        "only records, which is how one is tried out.",
        f"min({of('portwatch_enforcing')})",
        "PortwatchNotEnforcing",
        names=ENFORCING,
    )
    yield tile(
        "Agents not scraped",
        "Instances that Prometheus cannot reach now. The kernel goes on enforcing without its "
        "agent, but nobody sees what.",
        f"sum(1 - up{{{INSTANCE}}})",
        "PortwatchAgentDown",
        steps=BAD_FROM_ONE,
    )
    yield tile(
        "Hooks gone",
        "Programs that are loaded and no longer attached to the kernel. What such a hook sees "
        "goes unjudged.",
        f"sum(1 - {of('portwatch_hook_attached')})",
        "PortwatchHookGone",
        steps=BAD_FROM_ONE,
    )
    yield tile(
        "Last policy",
        "What became of the last policy that was loaded. Where it was refused, the one before "
        "is still in force.",
        f"min({of('portwatch_policy_last_load_successful')})",
        "PortwatchPolicyRefused",
        names=ACCEPTED,
    )
    yield tile(
        "Policies in force",
        "How many different policies there are among the instances chosen, by their hash. One "
        "that should be the same everywhere is 1.",
        f"count(count by (sha256) ({of('portwatch_policy_info')}))",
        steps=((None, GREEN), (2, YELLOW)),
    )
    yield tile(
        "Events lost",
        "Events that did not fit the ring buffer in the time chosen. Counts are exact all the "
        "same; which process it was is not told for these.",
        f"sum({LOST})",
        "PortwatchEventsLost",
        steps=ODD_FROM_ONE,
    )
    yield _instances()
    yield states(
        About(
            8,
            "Hooks over time",
            "Each hook, attached or gone; gone on one of the instances chosen is gone here.",
            names=ATTACHED,
            links=[runbook("PortwatchHookGone")],
        ),
        f"min by (hook) ({of('portwatch_hook_attached')})",
        "{{hook}}",
    )
    yield ranking(
        About(
            8,
            "Not covered",
            "Ways to own a port that portwatch does not see or cannot deny, and on how many "
            "instances. `portwatch status` there says what each means.",
            no_data="Nothing is uncovered, or no agent is scraped",
        ),
        f"sum by (gap) ({of('portwatch_uncovered')})",
        "{{gap}}",
    )
    yield ranking(
        About(
            8,
            "Tables, how full",
            "The fullest of each bounded table. A full one gives no wrong verdict, but tells "
            "things less apart.",
            unit="percentunit",
            steps=((None, GREEN), (0.75, YELLOW), (0.9, RED)),
            links=[runbook("PortwatchTableNearlyFull")],
        ),
        f"max by (map) ({of('portwatch_map_entries')} / {of('portwatch_map_capacity')})",
        "{{map}}",
    )


def _instances() -> AnyPanel:
    panel = rows(
        About(
            24,
            "Instances",
            "Each agent: whether it enforces, its policy by hash, source, mode and age, and what "
            "it lost. A click on an instance opens its own page.",
            height=7,
        ),
        f"min by (instance) ({of('portwatch_enforcing')})",
        f"sum by (instance) (1 - {of('portwatch_hook_attached')})",
        f"max by (instance, mode, sha256, source) ({of('portwatch_policy_info')})",
        f"max by (instance) ({AGE})",
        f"min by (instance) ({of('portwatch_policy_last_load_successful')})",
        f"sum by (instance) ({LOST})",
        f"max by (instance, kernel, version) ({of('portwatch_build_info')})",
        order=(
            *("instance", "Value #A", "Value #B", "mode", "source", "sha256", "Value #D"),
            *("Value #E", "Value #F", "version", "kernel"),
        ),
        value="Events lost",
    )
    panel.override_by_name("instance", [agent_page()])
    panel.override_by_name("Value #A", [named("Enforcing"), mapped(ENFORCING), COLOURED_CELL])
    panel.override_by_name("Value #B", [named("Hooks gone")])
    panel.override_by_name("Value #D", [named("Policy age"), in_unit("s")])
    panel.override_by_name("Value #E", [named("Last policy"), mapped(ACCEPTED), COLOURED_CELL])
    panel.override_by_name("Value #F", [named("Events lost")])
    for always_one in ("Value #C", "Value #G"):
        panel.override_by_name(always_one, [HIDDEN])
    return panel
