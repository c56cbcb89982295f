"""The Vagrantfile and Grafana's script, where neither a provider nor Grafana's image can be had."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import yaml

ROOT = Path(__file__).parents[2]
PROVISIONING = ROOT / "deploy" / "vagrant"
VALIDATE = ("vagrant", "validate", "--ignore-provider")


def test_the_vagrantfile_is_valid(tmp_path: Path) -> None:
    """`vagrant validate` passes."""
    shutil.copy(ROOT / "Vagrantfile", tmp_path)
    done = subprocess.run(VALIDATE, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_steps_are_scripts() -> None:
    """Every step that it names is a script that bash can read."""
    (steps,) = re.findall(
        r"^  \[(.*)\]\.each do \|step\|", (ROOT / "Vagrantfile").read_text(), re.M
    )
    names = re.findall(r'"(\w+)"', steps)
    assert names == ["portwatch", "samples", "prometheus", "grafana"]
    for name in names:
        subprocess.run(["bash", "-n", PROVISIONING / name], check=True)


def test_grafana_finds_its_dashboard() -> None:
    """What the container mounts is there, and lies where the provisioning says."""
    script = (PROVISIONING / "grafana").read_text()
    copied = dict(re.findall(r'cp -rT "\$source/(\w+)" (\S+)', script))
    mounted = dict(re.findall(r"--volume (\S+?):(\S+?):ro", script))
    assert set(copied.values()) == set(mounted)
    assert mounted[copied["provisioning"]] == "/etc/grafana/provisioning"
    provider = yaml.safe_load((ROOT / "grafana/provisioning/dashboards/portwatch.yaml").read_text())
    paths = [one["options"]["path"] for one in provider["providers"]]
    assert paths == [mounted[copied["dashboards"]]]
    assert list((ROOT / "grafana" / "dashboards").glob("*.json"))
