"""The parts of a kubeconfig that are read, as types."""

from __future__ import annotations

from typing import Any

from msgspec import Struct, ValidationError, convert, field

__all__ = ["ClusterSpec", "ConfigSpec", "UserSpec", "ValidationError", "read_config"]


class ClusterSpec(Struct, rename="kebab"):
    """`cluster`: where the server is, and how it is known."""

    server: str
    certificate_authority: str = ""
    certificate_authority_data: str = ""
    tls_server_name: str = ""
    insecure_skip_tls_verify: bool = False


class UserSpec(Struct):
    """`user`: who asks."""

    token: str = ""
    token_file: str = field(default="", name="tokenFile")
    client_certificate: str = field(default="", name="client-certificate")
    client_key: str = field(default="", name="client-key")
    client_certificate_data: str = field(default="", name="client-certificate-data")
    exec: Any = None
    auth_provider: Any = field(default=None, name="auth-provider")
    username: str = ""


class ContextSpec(Struct):
    """`context`: which of them."""

    cluster: str
    user: str


class NamedCluster(Struct):
    """An entry of `clusters`."""

    name: str
    cluster: ClusterSpec


class NamedUser(Struct):
    """An entry of `users`."""

    name: str
    user: UserSpec


class NamedContext(Struct):
    """An entry of `contexts`."""

    name: str
    context: ContextSpec


class ConfigSpec(Struct):
    """The whole file."""

    clusters: list[NamedCluster]
    contexts: list[NamedContext]
    users: list[NamedUser]
    current_context: str = field(name="current-context")


def read_config(data: Any) -> ConfigSpec:
    """Return a kubeconfig's plain data as one. Raises ValidationError."""
    return convert(data, ConfigSpec)
