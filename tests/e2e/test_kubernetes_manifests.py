"""What `kubectl apply -k` sends: right for every Kubernetes in use, least in what it asks for, and
made from the same files as everything else."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import kubernetes_validate
import pytest
import yaml
from committed_queries import ROOT, RULE_TESTS, RULES
from manifests import (
    COMPONENTS,
    DASHBOARDS,
    KUBERNETES,
    Object,
    container,
    pod_spec,
    rendered,
    the,
    with_components,
)
from product import portwatch, run_command

VERSIONS = ("1.28", "1.30", "1.32", "1.34", "1.36", "1.37")
OVERLAYS = ("base", "example", "unload")
OF_THE_OPERATOR = {"PodMonitor", "PrometheusRule"}
ANNOTATION_BYTES = 256 * 1024  # what `kubectl apply` notes the last applied object in


def core(objects: tuple[Object, ...]) -> list[Object]:
    """The objects that Kubernetes itself has a schema for."""
    return [one for one in objects if one["kind"] not in OF_THE_OPERATOR]


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("overlay", OVERLAYS)
def test_objects_are_of_the_schema(overlay: str, version: str) -> None:
    """Every object is of that version's schema, with no field that it does not know."""
    objects = core(rendered(KUBERNETES / overlay))
    assert objects
    for one in objects:
        kubernetes_validate.validate(one, version, strict=True)


def test_schema_can_refuse() -> None:
    """A field that there is not is found: the validation is no formality."""
    spoiled = json.loads(json.dumps(the("DaemonSet", rendered(KUBERNETES / "base"))))
    spoiled["spec"]["template"]["spec"]["hostPid"] = True
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(spoiled, VERSIONS[-1], strict=True)


@pytest.mark.parametrize("component", COMPONENTS)
def test_component_fits_the_base(tmp_path: Path, component: str) -> None:
    """Each component can be added by itself, changes something, and what comes out is valid."""
    objects = with_components(tmp_path, component)
    assert list(objects) != list(rendered(KUBERNETES / "base"))
    for one in core(objects):
        kubernetes_validate.validate(one, VERSIONS[-1], strict=True)


def test_all_components_fit_together(tmp_path: Path) -> None:
    """They do not get in each other's way."""
    chosen = [name for name in COMPONENTS if name != "published-ports"]  # pod-listeners has it
    objects = with_components(tmp_path, *chosen)
    added = container(objects, "agent")["securityContext"]["capabilities"]["add"]
    assert added == ["BPF", "NET_ADMIN", "SYS_ADMIN", "SYS_PTRACE"]
    assert {one["kind"] for one in objects} >= OF_THE_OPERATOR


@pytest.mark.parametrize("name", ["check", "load", "agent"])
def test_container_has_only_what_it_needs(name: str) -> None:
    """No container is privileged, gains privileges or writes to its root; the agent has one
    capability, and what checks the policy none and no root."""
    one = container(rendered(KUBERNETES / "base"), name)
    given = one["securityContext"]
    assert given["readOnlyRootFilesystem"] and not given["allowPrivilegeEscalation"]
    assert "privileged" not in given
    assert given["capabilities"]["drop"] == ["ALL"]
    assert (
        given["capabilities"].get("add", [])
        == {
            "check": [],
            "load": ["BPF", "NET_ADMIN", "PERFMON", "SYS_RESOURCE"],
            "agent": ["BPF"],
        }[name]
    )
    writable = {mount["name"] for mount in one["volumeMounts"] if not mount.get("readOnly")}
    assert (
        writable
        == {"check": set(), "load": {"bpf", "state"}, "agent": {"bpf", "run", "state"}}[name]
    )
    assert one["resources"]["requests"] and one["resources"]["limits"]


def test_only_the_agent_has_the_token() -> None:
    """No other container can speak to the API server in its name."""
    spec = pod_spec(rendered(KUBERNETES / "base"))
    assert spec["automountServiceAccountToken"] is False
    with_token = {
        one["name"]
        for one in spec["initContainers"] + spec["containers"]
        if any(mount["name"] == "api" for mount in one["volumeMounts"])
    }
    assert with_token == {"agent"}
    (rule,) = the("ClusterRole", rendered(KUBERNETES / "base"))["rules"]
    assert rule == {"apiGroups": [""], "resources": ["pods"], "verbs": ["list", "watch"]}


def test_every_node_is_reached_one_after_the_other() -> None:
    """All taints are tolerated, nothing evicts it, and two agents never share a node."""
    daemon_set = the("DaemonSet", rendered(KUBERNETES / "base"))
    spec = daemon_set["spec"]["template"]["spec"]
    assert spec["tolerations"] == [{"operator": "Exists"}]
    assert spec["priorityClassName"] == "system-node-critical"
    assert daemon_set["spec"]["updateStrategy"]["rollingUpdate"]["maxSurge"] == 0
    (port,) = container(rendered(KUBERNETES / "base"), "agent")["ports"]
    assert port["containerPort"] == 9477


@pytest.mark.parametrize("overlay", ["base", "example"])
def test_policy_is_a_good_one(tmp_path: Path, overlay: str) -> None:
    """The ConfigMap's policy has no error, and nothing to complain about."""
    data = the("ConfigMap", rendered(KUBERNETES / overlay), "portwatch-policy")["data"]
    for name, text in data.items():
        (tmp_path / name).write_text(text)
    done = portwatch("check", "--offline", "--strict", tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr


def test_policy_keeps_its_name() -> None:
    """A changed policy does not change the pods, which would restart them all."""
    (volume,) = (
        one for one in pod_spec(rendered(KUBERNETES / "base"))["volumes"] if one["name"] == "policy"
    )
    assert volume["configMap"]["name"] == "portwatch-policy"


def test_pod_monitor_finds_the_pods() -> None:
    """Its labels are the pods', its port is the agent's, and its job is the alerts' one."""
    objects = rendered(KUBERNETES / "example")
    monitor = the("PodMonitor", objects)["spec"]
    labels = the("DaemonSet", objects)["spec"]["template"]["metadata"]["labels"]
    assert monitor["selector"]["matchLabels"].items() <= labels.items()
    (endpoint,) = monitor["podMetricsEndpoints"]
    assert endpoint["port"] == container(objects, "agent")["ports"][0]["name"]
    assert labels[monitor["jobLabel"]] == "portwatch"


def test_alerts_are_the_same(tmp_path: Path) -> None:
    """The PrometheusRule is current (`make kubernetes`), and promtool's tests hold for it."""
    rule = the("PrometheusRule", rendered(KUBERNETES / "example"))
    committed = KUBERNETES / "components" / "prometheus-rule" / "prometheus-rule.yaml"
    assert committed.read_text() == run_command([ROOT / "scripts" / "prometheus-rule"]).stdout
    (tmp_path / RULES.name).write_text(yaml.safe_dump(rule["spec"]))
    shutil.copy(RULE_TESTS, tmp_path)
    done = run_command(["promtool", "test", "rules", RULE_TESTS.name], cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr


def test_dashboards_are_the_same() -> None:
    """Every committed dashboard is in the ConfigMap, unchanged, and small enough to be applied."""
    data = the("ConfigMap", rendered(KUBERNETES / "example"), "portwatch-dashboards")["data"]
    assert data == {path.name: path.read_text() for path in DASHBOARDS.glob("*.json")}
    assert len(json.dumps(data)) < ANNOTATION_BYTES


def test_unloading_takes_no_privilege() -> None:
    """To remove enforcement a container needs root's uid and bpffs, and nothing else."""
    one = container(rendered(KUBERNETES / "unload"), "unload")
    assert one["args"] == ["unload"]
    assert one["securityContext"]["capabilities"] == {"drop": ["ALL"]}
