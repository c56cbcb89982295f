"""The shape of a web configuration file, as types: exporter-toolkit's web-configuration.md."""

from __future__ import annotations

from typing import Literal

from msgspec import UNSET, Struct, UnsetType, field

from portwatch.policy.source.schema import Text

ClientAuth = Literal[
    "NoClientCert",
    "RequestClientCert",
    "RequireClientCert",
    "RequireAnyClientCert",
    "VerifyClientCertIfGiven",
    "RequireAndVerifyClientCert",
]
TlsVersion = Literal["TLS10", "TLS11", "TLS12", "TLS13"]


class TlsSpec(Struct, forbid_unknown_fields=True):
    """`tls_server_config`."""

    cert_file: Text
    key_file: Text
    client_auth_type: ClientAuth = "NoClientCert"
    client_ca_file: Text = ""
    client_allowed_sans: list[Text] = field(default_factory=list)
    min_version: TlsVersion = "TLS12"
    max_version: TlsVersion = "TLS13"
    cipher_suites: list[Text] = field(default_factory=list)
    prefer_server_cipher_suites: bool = True
    curve_preferences: list[Text] = field(default_factory=list)


class HeadersSpec(Struct, forbid_unknown_fields=True, rename=lambda name: name.replace("_", "-")):
    """`headers`, which every answer then has; an empty one is left out."""

    Content_Security_Policy: str = ""
    Strict_Transport_Security: str = ""
    X_Content_Type_Options: Literal["", "nosniff"] = ""
    X_Frame_Options: Literal["", "deny", "sameorigin"] = ""
    X_XSS_Protection: str = ""


class HttpSpec(Struct, forbid_unknown_fields=True):
    """`http_server_config`; `http2` is taken and changes nothing: HTTP/1.1 is served."""

    http2: bool = True
    headers: HeadersSpec = field(default_factory=HeadersSpec)


class WebSpec(Struct, forbid_unknown_fields=True):
    """The whole file. `basic_auth_users`: name → bcrypt hash."""

    tls_server_config: TlsSpec | UnsetType = UNSET
    http_server_config: HttpSpec = field(default_factory=HttpSpec)
    basic_auth_users: dict[str, Text] = field(default_factory=dict)
