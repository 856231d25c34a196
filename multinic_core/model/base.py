"""What all Kubernetes objects share: metadata, references, conditions, and the description of a resource.

Models read tolerantly (unknown fields are dropped, as the API server prunes them) and write the original's exact
JSON: snake_case in Python, camelCase at the edge through aliases. ``to_json`` leaves out what was not set.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from pydantic import BaseModel, ConfigDict, Field
from pydantic.alias_generators import to_camel

GROUP = "multinic.fms.io"
VERSION = "v1"


class JsonModel(BaseModel):
    """Base of everything that is read from or written to JSON."""

    model_config = ConfigDict(
        alias_generator=to_camel, populate_by_name=True, extra="ignore", use_attribute_docstrings=True
    )

    def to_json(self) -> dict[str, Any]:
        """A JSON-ready dict with camelCase keys; fields that are None are left out."""
        return self.model_dump(mode="json", by_alias=True, exclude_none=True)


class OwnerReference(JsonModel):
    api_version: str
    kind: str
    name: str
    uid: str
    controller: bool | None = None
    block_owner_deletion: bool | None = None


class ObjectMeta(JsonModel):
    """The part of ``metadata`` that multinic reads or writes."""

    name: str = ""
    generate_name: str | None = None
    namespace: str | None = None
    uid: str | None = None
    resource_version: str | None = None
    generation: int | None = None
    creation_timestamp: str | None = None
    deletion_timestamp: str | None = None
    deletion_grace_period_seconds: int | None = None
    labels: dict[str, str] | None = None
    annotations: dict[str, str] | None = None
    finalizers: list[str] | None = None
    owner_references: list[OwnerReference] | None = None


class Condition(JsonModel):
    """One entry of ``status.conditions``, as Kubernetes' metav1.Condition."""

    type: str = Field(max_length=316)
    """CamelCase, such as ``Ready``."""
    status: str = Field(pattern="^(True|False|Unknown)$")
    """``True``, ``False`` or ``Unknown``."""
    observed_generation: int | None = None
    """``metadata.generation`` that the condition speaks of."""
    last_transition_time: str
    """RFC 3339 time at which ``status`` last changed."""
    reason: str
    """One CamelCase word for programs."""
    message: str = ""
    """One sentence for people."""


class KubeObject(JsonModel):
    """Any object of the API."""

    api_version: str = ""
    kind: str = ""
    metadata: ObjectMeta = Field(default_factory=ObjectMeta)

    @property
    def name(self) -> str:
        return self.metadata.name

    @property
    def namespace(self) -> str:
        return self.metadata.namespace or ""


M = TypeVar("M", bound=KubeObject)


@dataclass(frozen=True, slots=True)
class PrinterColumn:
    """One column that ``kubectl get`` prints."""

    name: str
    type: str
    json_path: str
    priority: int = 0
    """0 is always shown, 1 only with ``-o wide``."""


@dataclass(frozen=True, slots=True)
class Resource(Generic[M]):
    """Where the API serves a kind, and the model that reads it."""

    model: type[M]
    group: str
    """"" for the core group."""
    version: str
    kind: str
    plural: str
    namespaced: bool
    short_names: tuple[str, ...] = ()
    columns: tuple[PrinterColumn, ...] = ()
    name_length: int | None = None
    """Most characters of a name, when fewer than Kubernetes allows: pools carry a network's in a label value."""

    @property
    def api_version(self) -> str:
        return f"{self.group}/{self.version}" if self.group else self.version

    @property
    def crd_name(self) -> str:
        return f"{self.plural}.{self.group}"
