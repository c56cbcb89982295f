"""What a reader of the dashboard chooses from."""

from __future__ import annotations

from grafana_foundation_sdk.builders.dashboard import (
    CustomVariable,
    DatasourceVariable,
    QueryVariable,
)
from grafana_foundation_sdk.models.dashboard import (
    DataSourceRef,
    VariableOption,
    VariableRefresh,
    VariableSort,
)

DATASOURCE = DataSourceRef("prometheus", "${datasource}")
ALL = VariableOption(text="All", value="$__all")
EVERY_LABEL = (
    '{__name__=~"portwatch_(violations_total|listeners|bind_collisions_total)", '
    'instance=~"$instance"}'
)


def _choice(name: str, label: str, why: str, query: str) -> QueryVariable:
    return (
        QueryVariable(name)
        .label(label)
        .description(why)
        .datasource(DATASOURCE)
        .query(query)
        .refresh(VariableRefresh.ON_TIME_RANGE_CHANGED)
        .sort(VariableSort.ALPHABETICAL_ASC)
        .multi(True)
        .include_all(True)
        .current(ALL)
    )


SOURCE = DatasourceVariable("datasource").label("Data source").type("prometheus")
VARIABLES = (
    SOURCE,
    _choice(
        "instance",
        "Instance",
        "The machines, as Prometheus scrapes them",
        "label_values(portwatch_build_info, instance)",
    ),
    # `.*`: where nothing was violated yet there is nothing that All could list.
    _choice(
        "workload", "Workload", "Who binds", f"label_values({EVERY_LABEL}, workload)"
    ).all_value(".*"),
    _choice(
        "constraint",
        "Constraint",
        "The policy's constraint that was violated",
        'label_values(portwatch_violations_total{instance=~"$instance"}, constraint)',
    ).all_value(".*"),
    CustomVariable("scheme")
    .label("Agents speak")
    .description("For links to the agents: https where they have a --web.config.file")
    .values("http,https")
    .current(VariableOption(selected=True, text="http", value="http")),
)
# Of `up`, which knows a target that was never reached.
FLEET_VARIABLES = (
    SOURCE,
    _choice(
        "instance",
        "Instance",
        "The machines, as Prometheus scrapes them in its job `portwatch`",
        'label_values(up{job="portwatch"}, instance)',
    ).all_value(".*"),
)
