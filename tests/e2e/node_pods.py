"""Pods of deploy/kubernetes as a kubelet would run them, by Podman: each container of the rendered
DaemonSet with its own image, arguments, mounts, capabilities and seccomp profile.

What is not as on a node: the scratch cgroup and pin directory, the address that is served on, and a
ConfigMap's directory that the test writes.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from committed_queries import ROOT
from engine_room import EngineRoom, engine_room
from manifests import KUBERNETES, Object, container, pod_spec, rendered, with_components
from podman_engine import SETTINGS
from product import Done, run_command
from sandbox import Sandbox

from portwatch.node.cgroups import find_cgroup2
from portwatch.node.paths import HostPaths

PROFILE = Path("/usr/share/containers/seccomp.json")
BUILD_SECONDS = 1500


@dataclass
class Node:
    """A machine with an engine whose image is loaded; `policy` is the ConfigMap's directory."""

    room: EngineRoom
    sandbox: Sandbox
    policy: Path
    address: str
    image: str = "localhost/portwatch:test"

    def podman(self, *arguments: object, check: bool = True) -> Done:
        """The engine's command, to its end."""
        command = self.room.command("podman", "--storage-driver=overlay", *arguments)
        settings = {"CONTAINERS_CONF": str(self.sandbox.folder / "containers.conf")}
        done = run_command(command, env=os.environ | settings, timeout=120)
        assert done.returncode == 0 or not check, f"{done.args}: {done.stdout}{done.stderr}"
        return done

    def run(self, name: str, overlay: str = "base") -> Done:
        """A container of the pod to its end, as an init container is."""
        options = self._options(rendered(KUBERNETES / overlay), name)
        return self.podman("run", "--rm", *options, check=False)

    def start(self, name: str, *components: str) -> None:
        """A container of the pod, some components added to it, left running under its name."""
        objects = with_components(self.sandbox.folder, *components)
        self.podman("run", "--detach", f"--name={name}", *self._options(objects, name))

    def newer(self, change: str) -> Node:
        """The same node after a shell command in the image has made another version of it."""
        command = ("run", "--name=newer", "--network=none", "--entrypoint=/bin/sh", self.cgroup)
        self.podman(*command, self.image, "-c", change)
        entrypoint = 'ENTRYPOINT ["/usr/bin/portwatch"]'
        tag = "localhost/portwatch:newer"
        self.podman("commit", "--quiet", f"--change={entrypoint}", "newer", tag)
        return Node(self.room, self.sandbox, self.policy, self.address, tag)

    def kept_policy(self) -> str:
        """The last good policy, on the node's disk; nothing where there is none."""
        return run_command(self.room.command("cat", self.sandbox.kept_policy)).stdout

    @property
    def secret(self) -> Path:
        """The Secret's directory."""
        return self.sandbox.folder / "secret"

    @property
    def cgroup(self) -> str:
        """Where containers are, as an option."""
        path = self.room.cgroup.relative_to(find_cgroup2(HostPaths()))
        return f"--cgroup-parent=/{path}"

    def _options(self, objects: tuple[Object, ...], name: str) -> Iterator[str]:
        one, spec = container(objects, name), pod_spec(objects)
        given = one["securityContext"]
        yield from ("--no-healthcheck", "--cgroupns=private", self.cgroup, "--pull=never")
        yield f"--network={'host' if spec.get('hostNetwork') else 'none'}"
        yield f"--pid={'host' if spec.get('hostPID') else 'private'}"
        yield f"--user={given['runAsUser']}:{given.get('runAsGroup', 0)}"
        if given["readOnlyRootFilesystem"]:
            yield from ("--read-only", "--read-only-tmpfs=false")
        if not given["allowPrivilegeEscalation"]:
            yield "--security-opt=no-new-privileges"
        yield from (f"--cap-drop={each}" for each in given["capabilities"]["drop"])
        yield from (f"--cap-add={each}" for each in given["capabilities"].get("add", []))
        kind = given["seccompProfile"]["type"]
        profile = "unconfined" if kind == "Unconfined" else self._runtime_default()
        yield f"--security-opt=seccomp={profile}"
        volumes = {volume["name"]: volume for volume in spec["volumes"]}
        for mount in one.get("volumeMounts", []):
            yield from self._mount(volumes[mount["name"]], mount["mountPath"], "readOnly" in mount)
        command = one.get("command", [])
        if command:
            yield f"--entrypoint={json.dumps(command)}"
        environment = {"HOST_IP": self.address, "NODE_NAME": "node-1"}
        yield from (
            f"--env={each['name']}={environment[each['name']]}" for each in one.get("env", [])
        )
        yield self.image
        arguments = one.get("args", [])
        yield from (re.sub(r"\$\((\w+)\)", lambda m: environment[m[1]], word) for word in arguments)
        if arguments:
            yield f"--pin-dir={self.sandbox.pin_dir}"
        if arguments and arguments[0] != "unload":
            yield f"--cgroup=/host/cgroup/{self.sandbox.cgroup.name}"

    def _mount(self, volume: Object, at: str, read_only: bool) -> Iterator[str]:
        mode = "ro" if read_only else "rw"
        if volume["name"] == "policy":
            yield f"--volume={self.policy}:{at}:{mode}"
        elif "secret" in volume:
            yield f"--volume={self.secret}:{at}:{mode}"
        elif "hostPath" in volume:
            # In the engine's room cgroup2 is where it is on most machines.
            path = volume["hostPath"]["path"]
            if volume["hostPath"].get("type") == "DirectoryOrCreate":
                run_command(self.room.command("mkdir", "-p", path))
            yield f"--volume={path}:{at}:{mode}"
        elif "emptyDir" in volume:
            yield f"--mount=type=tmpfs,destination={at}"

    def _runtime_default(self) -> Path:
        """containerd's profile in what matters here: bpf() goes with CAP_BPF, where the older one
        of Debian 12's Podman wants CAP_SYS_ADMIN."""
        profile = json.loads(PROFILE.read_text())
        for rule in profile["syscalls"]:
            if rule["action"] == "SCMP_ACT_ERRNO":
                rule["names"] = [name for name in rule["names"] if name != "bpf"]
        profile["syscalls"].append(
            {"names": ["bpf"], "action": "SCMP_ACT_ALLOW", "includes": {"caps": ["CAP_BPF"]}}
        )
        path = self.sandbox.folder / "seccomp.json"
        path.write_text(json.dumps(profile))
        return path


def image_archive() -> Path:
    """This tree's image, built if it is not yet."""
    done = subprocess.run(
        [ROOT / "tests" / "image" / "ground"],
        capture_output=True,
        text=True,
        check=False,
        timeout=BUILD_SECONDS,
    )
    assert done.returncode == 0, done.stderr
    return Path(done.stdout.strip())


@contextmanager
def node(sandbox: Sandbox, address: str) -> Iterator[Node]:
    """Everything of it ends with the context, but for what is enforced."""
    archive = image_archive()
    (sandbox.folder / "containers.conf").write_text(SETTINGS)
    policy = sandbox.folder / "policy.d"
    policy.mkdir()
    cgroup = find_cgroup2(HostPaths()) / f"{sandbox.cgroup.name}-engine"
    with engine_room(cgroup) as room:
        made = Node(room, sandbox, policy, address)
        made.podman("load", "--quiet", "--input", archive)
        yield made
