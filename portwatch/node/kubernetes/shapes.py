"""The parts of the API's objects that are read; all else of a pod is not even decoded."""

from __future__ import annotations

from msgspec import DecodeError, Raw, Struct, ValidationError
from msgspec.json import Decoder

__all__ = [
    "BAD_JSON",
    "ContainerObject",
    "ListEnvelope",
    "PodObject",
    "PortObject",
    "read_event",
    "read_list",
    "read_pod",
    "read_status",
    "read_version",
]

BAD_JSON = (DecodeError, ValidationError, UnicodeDecodeError, RecursionError)


class OwnerObject(Struct):
    """An entry of `metadata.ownerReferences`."""

    kind: str = ""
    name: str = ""


class MetadataObject(Struct, rename="camel"):
    """`metadata` of any object."""

    name: str = ""
    namespace: str = ""
    uid: str = ""
    resource_version: str = ""
    labels: dict[str, str] | None = None
    annotations: dict[str, str] | None = None
    owner_references: list[OwnerObject] | None = None


class PortObject(Struct, rename="camel"):
    """An entry of a container's `ports`."""

    container_port: int
    host_port: int = 0
    protocol: str = "TCP"


class ContainerObject(Struct):
    """A container of a pod."""

    ports: list[PortObject] | None = None


class SpecObject(Struct, rename="camel"):
    """`spec` of a pod."""

    node_name: str = ""
    service_account_name: str = ""
    host_network: bool = False
    containers: list[ContainerObject] = []
    init_containers: list[ContainerObject] | None = None


class PodObject(Struct):
    """A pod."""

    metadata: MetadataObject
    spec: SpecObject


class ListEnvelope(Struct):
    """A page of a list, without its items."""

    metadata: dict[str, object] = {}

    def text(self, key: str) -> str:
        """Return a text of the metadata, empty where there is none."""
        value = self.metadata.get(key)
        return value if isinstance(value, str) else ""


class EventObject(Struct):
    """One line of a watch."""

    type: str
    object: Raw


class StatusObject(Struct):
    """Why a request failed, as the server says it."""

    code: int = 0
    reason: str = ""
    message: str = ""


class _Versioned(Struct):
    metadata: MetadataObject


_LIST, _POD, _EVENT = Decoder(ListEnvelope), Decoder(PodObject), Decoder(EventObject)
_STATUS, _VERSIONED = Decoder(StatusObject), Decoder(_Versioned)


def read_list(text: bytes) -> ListEnvelope:
    """Decode a page whose items were taken out. Raises one of BAD_JSON, like all of these."""
    return _LIST.decode(text)


def read_pod(text: bytes | Raw) -> PodObject:
    """Decode a pod."""
    return _POD.decode(text)


def read_event(line: bytes) -> EventObject:
    """Decode a line of a watch; its object is left as it is."""
    return _EVENT.decode(line)


def read_status(text: bytes | Raw) -> StatusObject:
    """Decode the object of an ERROR, or the body of a refusal."""
    return _STATUS.decode(text)


def read_version(text: bytes | Raw) -> str:
    """Decode only which version an object is, as a bookmark has it."""
    return _VERSIONED.decode(text).metadata.resource_version
