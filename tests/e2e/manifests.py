"""deploy/kubernetes as kustomize renders it: the objects that `kubectl apply -k` would send."""

from __future__ import annotations

import subprocess
from functools import cache
from pathlib import Path
from typing import Any

import yaml
from committed_queries import ROOT

KUBERNETES = ROOT / "deploy" / "kubernetes"
COMPONENTS = sorted(path.name for path in (KUBERNETES / "components").iterdir())
DASHBOARDS = ROOT / "grafana" / "dashboards"

Object = dict[str, Any]


@cache
def rendered(directory: Path) -> tuple[Object, ...]:
    """The objects of a kustomization."""
    kustomize = ROOT / "tests" / "kubernetes" / "kustomize"
    done = subprocess.run(
        [kustomize, "build", directory], capture_output=True, text=True, check=False, timeout=120
    )
    assert done.returncode == 0, done.stderr
    return tuple(yaml.safe_load_all(done.stdout))


def with_components(folder: Path, *components: str) -> tuple[Object, ...]:
    """The base with some of the components, by an overlay in `folder`."""
    overlay = folder / "overlay"
    overlay.mkdir(exist_ok=True)
    here = KUBERNETES.relative_to("/")
    up = "/".join([".."] * (len(overlay.parts) - 1))  # kustomize takes no absolute paths
    written = {
        "apiVersion": "kustomize.config.k8s.io/v1beta1",
        "kind": "Kustomization",
        "resources": [f"{up}/{here}/base"],
        "components": [f"{up}/{here}/components/{name}" for name in components],
    }
    (overlay / "kustomization.yaml").write_text(yaml.safe_dump(written))
    return rendered.__wrapped__(overlay)


def the(kind: str, objects: tuple[Object, ...], name: str = "") -> Object:
    """The one object of a kind, and of a name where there are several."""
    (found,) = (
        one for one in objects if one["kind"] == kind and name in ("", one["metadata"]["name"])
    )
    return found


def pod_spec(objects: tuple[Object, ...]) -> Object:
    """What the DaemonSet's pods are made from."""
    spec: Object = the("DaemonSet", objects)["spec"]["template"]["spec"]
    return spec


def container(objects: tuple[Object, ...], name: str) -> Object:
    """One of its containers, init containers among them."""
    spec = pod_spec(objects)
    (found,) = (
        one for one in spec.get("initContainers", []) + spec["containers"] if one["name"] == name
    )
    return dict(found)
