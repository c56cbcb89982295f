"""Pods as the API server writes them: the shape, and about the size, of real ones."""

from __future__ import annotations

import copy
import itertools
import uuid
from collections.abc import Mapping, Sequence
from typing import Any

NODE = "node-1"
MANIFEST_HASH = "77fa" * 8

Object = dict[str, Any]

_numbers = itertools.count(1)
_MANAGED = [
    {
        "apiVersion": "v1",
        "fieldsType": "FieldsV1",
        "fieldsV1": {
            "f:metadata": {
                "f:generateName": {},
                "f:labels": {".": {}, "f:app": {}, "f:pod-template-hash": {}},
                "f:ownerReferences": {
                    ".": {},
                    'k:{"uid":"5f2b4ddc-3bd6-43b6-9d0e-6a0e8b1a7c55"}': {},
                },
            },
            "f:spec": {
                "f:containers": {
                    'k:{"name":"app"}': {
                        ".": {},
                        "f:env": {
                            ".": {},
                            **{f'k:{{"name":"SETTING_{n}"}}': {".": {}} for n in range(12)},
                        },
                        "f:image": {},
                        "f:ports": {".": {}, 'k:{"containerPort":8080,"protocol":"TCP"}': {}},
                    }
                },
                "f:dnsPolicy": {},
                "f:restartPolicy": {},
                "f:schedulerName": {},
                "f:securityContext": {},
                "f:terminationGracePeriodSeconds": {},
            },
        },
        "manager": "kube-controller-manager",
        "operation": "Update",
        "time": "2026-11-26T08:00:00Z",
    },
    {
        "apiVersion": "v1",
        "fieldsType": "FieldsV1",
        "fieldsV1": {
            "f:status": {
                "f:conditions": {
                    f'k:{{"type":"{kind}"}}': {
                        ".": {},
                        "f:lastProbeTime": {},
                        "f:lastTransitionTime": {},
                        "f:status": {},
                        "f:type": {},
                    }
                    for kind in (
                        "ContainersReady",
                        "Initialized",
                        "Ready",
                        "PodReadyToStartContainers",
                    )
                },
                "f:containerStatuses": {},
                "f:hostIP": {},
                "f:phase": {},
                "f:podIP": {},
                "f:startTime": {},
            }
        },
        "manager": "kubelet",
        "operation": "Update",
        "subresource": "status",
        "time": "2026-11-26T08:00:04Z",
    },
]


def pod(
    name: str | None = None,
    namespace: str = "shop",
    labels: Mapping[str, str] | None = None,
    *,
    uid: str | None = None,
    service_account: str = "default",
    ports: Sequence[Mapping[str, Any]] = ({"containerPort": 8080, "protocol": "TCP"},),
    host_network: bool = False,
    node: str = NODE,
) -> Object:
    """A pod of a Deployment, running."""
    name = name or f"api-6c9f8d5b7b-{next(_numbers):05d}"
    spec: Object = {
        "volumes": [
            {
                "name": "kube-api-access-x7k2p",
                "projected": {
                    "sources": [
                        {"serviceAccountToken": {"expirationSeconds": 3607, "path": "token"}},
                        {
                            "configMap": {
                                "name": "kube-root-ca.crt",
                                "items": [{"key": "ca.crt", "path": "ca.crt"}],
                            }
                        },
                    ],
                    "defaultMode": 420,
                },
            }
        ],
        "containers": [
            {
                "name": "app",
                "image": "registry.example/shop/api:1.42.0",
                "ports": [dict(port) for port in ports],
                "env": [{"name": f"SETTING_{n}", "value": f"value-{n}"} for n in range(12)],
                "resources": {
                    "limits": {"memory": "256Mi"},
                    "requests": {"cpu": "100m", "memory": "256Mi"},
                },
                "volumeMounts": [
                    {
                        "name": "kube-api-access-x7k2p",
                        "readOnly": True,
                        "mountPath": "/var/run/secrets/kubernetes.io/serviceaccount",
                    }
                ],
                "livenessProbe": {
                    "httpGet": {"path": "/healthz", "port": 8080, "scheme": "HTTP"},
                    "timeoutSeconds": 1,
                    "periodSeconds": 10,
                    "successThreshold": 1,
                    "failureThreshold": 3,
                },
                "terminationMessagePath": "/dev/termination-log",
                "terminationMessagePolicy": "File",
                "imagePullPolicy": "IfNotPresent",
            }
        ],
        "restartPolicy": "Always",
        "terminationGracePeriodSeconds": 30,
        "dnsPolicy": "ClusterFirst",
        "serviceAccountName": service_account,
        "serviceAccount": service_account,
        "nodeName": node,
        "securityContext": {},
        "schedulerName": "default-scheduler",
        "tolerations": [
            {
                "key": f"node.kubernetes.io/{what}",
                "operator": "Exists",
                "effect": "NoExecute",
                "tolerationSeconds": 300,
            }
            for what in ("not-ready", "unreachable")
        ],
        "priority": 0,
        "enableServiceLinks": True,
        "preemptionPolicy": "PreemptLowerPriority",
    }
    if host_network:
        spec["hostNetwork"] = True
    return {
        "kind": "Pod",
        "apiVersion": "v1",
        "metadata": {
            "name": name,
            "generateName": "api-6c9f8d5b7b-",
            "namespace": namespace,
            "uid": uid or str(uuid.uuid4()),
            "resourceVersion": "0",
            "creationTimestamp": "2026-11-26T08:00:00Z",
            "labels": dict(labels or {"app": "api", "pod-template-hash": "6c9f8d5b7b"}),
            "ownerReferences": [
                {
                    "apiVersion": "apps/v1",
                    "kind": "ReplicaSet",
                    "name": "api-6c9f8d5b7b",
                    "uid": "5f2b4ddc-3bd6-43b6-9d0e-6a0e8b1a7c55",
                    "controller": True,
                    "blockOwnerDeletion": True,
                }
            ],
            "managedFields": copy.deepcopy(_MANAGED),
        },
        "spec": spec,
        "status": {
            "phase": "Running",
            "conditions": [
                {
                    "type": kind,
                    "status": "True",
                    "lastProbeTime": None,
                    "lastTransitionTime": "2026-11-26T08:00:04Z",
                }
                for kind in ("PodReadyToStartContainers", "Initialized", "Ready", "PodScheduled")
            ],
            "hostIP": "10.0.0.7",
            "hostIPs": [{"ip": "10.0.0.7"}],
            "podIP": "10.244.1.17",
            "podIPs": [{"ip": "10.244.1.17"}],
            "startTime": "2026-11-26T08:00:00Z",
            "containerStatuses": [
                {
                    "name": "app",
                    "state": {"running": {"startedAt": "2026-11-26T08:00:03Z"}},
                    "lastState": {},
                    "ready": True,
                    "restartCount": 0,
                    "image": "registry.example/shop/api:1.42.0",
                    "imageID": f"registry.example/shop/api@sha256:{'5e' * 32}",
                    "containerID": f"containerd://{'7d' * 32}",
                    "started": True,
                }
            ],
            "qosClass": "Burstable",
        },
    }


def mirror_pod(
    name: str = f"etcd-{NODE}", manifest_hash: str = MANIFEST_HASH, node: str = NODE, **more: Any
) -> Object:
    """What stands in the API for a static pod: its cgroup has the hash of its manifest."""
    found = pod(name, "kube-system", {"component": "etcd", "tier": "control-plane"}, **more)
    found["spec"]["hostNetwork"] = True
    found["spec"]["nodeName"] = node
    del found["metadata"]["generateName"], found["spec"]["serviceAccountName"]
    found["metadata"]["annotations"] = {
        "kubernetes.io/config.hash": manifest_hash,
        "kubernetes.io/config.mirror": manifest_hash,
        "kubernetes.io/config.seen": "2026-11-26T07:59:00.123456789Z",
        "kubernetes.io/config.source": "file",
    }
    found["metadata"]["ownerReferences"] = [
        {"apiVersion": "v1", "kind": "Node", "name": node, "uid": str(uuid.uuid4())}
    ]
    return found


def labelled(given: Object, **labels: str) -> Object:
    """The same pod with other labels."""
    changed = copy.deepcopy(given)
    changed["metadata"]["labels"] = labels
    return changed


def uid_of(given: Object) -> str:
    """The uid that the API gives it."""
    return str(given["metadata"]["uid"])


def pod_slice(uid: str) -> str:
    """Where the kubelet makes the cgroup of a burstable pod under systemd."""
    inner = "kubepods-burstable"
    return f"kubepods.slice/{inner}.slice/{inner}-pod{uid.replace('-', '_')}.slice"
