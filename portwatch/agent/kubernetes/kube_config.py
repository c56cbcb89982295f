"""A kubeconfig, as kubectl and the kubelet have it: which server, and as whom."""

from __future__ import annotations

import stat
from collections.abc import Iterable
from pathlib import Path
from typing import Protocol, TypeVar

from portwatch.agent.kubernetes.shape import (
    ClusterSpec,
    ConfigSpec,
    UserSpec,
    ValidationError,
    read_config,
)
from portwatch.errors import PolicyError, UsageError
from portwatch.node.kubernetes.server import ApiServer, decoded, parse_url
from portwatch.policy.source.document import read_document
from portwatch.policy.source.problems import Problems

CAN_BE = "a token, a tokenFile, or client-certificate and client-key as files"


class _Named(Protocol):
    @property
    def name(self) -> str: ...


Entry = TypeVar("Entry", bound=_Named)


def load_kube_config(path: Path) -> ApiServer:
    """Return what the current context of a kubeconfig means; files stand relative to it.
    UsageError where that cannot be used."""
    config = _parse(path)
    chosen = _named(config.contexts, config.current_context, path, "context").context
    cluster = _named(config.clusters, chosen.cluster, path, "cluster").cluster
    user = _named(config.users, chosen.user, path, "user").user
    _refuse(path, cluster, user)
    where = path.absolute().parent

    def file(name: str) -> Path | None:
        return where / name if name else None

    authority = cluster.certificate_authority_data
    return ApiServer(
        parse_url(cluster.server),
        ca_file=None if authority else file(cluster.certificate_authority),
        ca_text=decoded(authority, f"{path}: certificate-authority-data") if authority else None,
        token_file=file(user.token_file),
        token=user.token or None,
        certificate_file=file(user.client_certificate),
        key_file=file(user.client_key),
        server_name=cluster.tls_server_name or None,
    )


def _parse(path: Path) -> ConfigSpec:
    problems = Problems()
    try:
        if stat.S_IWOTH & path.stat().st_mode:
            raise UsageError(f"{path} can be written by every user", hint=f"chmod o-rwx {path}")
        document = read_document(str(path), path.read_bytes(), problems)
        problems.raise_if_any()
        return read_config(document.data if document else None)
    except (OSError, ValueError) as err:
        if isinstance(err, ValidationError):
            raise UsageError(f"{path} is no kubeconfig: {err}") from err
        reason = getattr(err, "strerror", None) or err
        raise UsageError(f"cannot read the kubeconfig {path}: {reason}") from err
    except PolicyError as err:
        raise UsageError(f"{path} is no kubeconfig: {err.problems[0]}") from err


def _named(entries: Iterable[Entry], name: str, path: Path, what: str) -> Entry:
    found = next((entry for entry in entries if entry.name == name), None)
    if found is None:
        raise UsageError(f"{path}: there is no {what} {name!r}")
    return found


def _refuse(path: Path, cluster: ClusterSpec, user: UserSpec) -> None:
    """What the agent does not do: trust anybody, run programs, keep keys in its memory."""
    if cluster.insecure_skip_tls_verify:
        raise UsageError(
            f"{path}: insecure-skip-tls-verify lets anybody say which pods there are",
            hint="give certificate-authority",
        )
    if user.exec is not None or user.auth_provider is not None or user.username:
        raise UsageError(
            f"{path}: its user is known by a program or a password", hint=f"give {CAN_BE}"
        )
    if user.client_certificate_data or bool(user.client_certificate) != bool(user.client_key):
        raise UsageError(f"{path}: a client certificate needs two files", hint=f"give {CAN_BE}")
