"""What a request addresses, and how a write is to be done."""

from dataclasses import dataclass, field

from .builtin_schemas import schema_of
from .errors import ApiError, Json, not_found
from .scheme import WITH_GENERATION, Resource, Version
from .store import Place


@dataclass(frozen=True, slots=True)
class Target:
    """What a request addresses."""

    resource: Resource
    version: Version
    namespace: str = ""
    """"" for cluster-scoped kinds, and for all namespaces in lists."""
    name: str = ""
    subresource: str = ""

    @property
    def place(self) -> Place:
        return (*self.resource.collection, self.namespace, self.name)

    @property
    def api_version(self) -> str:
        return self.resource.api_version(self.version.name)

    @property
    def schema(self) -> Json:
        """Structural schema; for built-in kinds the one of the client's model."""
        return self.version.schema if self.version.schema is not None else schema_of(self.version.model)

    @property
    def builtin(self) -> bool:
        return not self.resource.crd

    @property
    def has_generation(self) -> bool:
        return not self.builtin or self.place[:2] in WITH_GENERATION

    def not_found(self) -> ApiError:
        return not_found(self.resource.plural, self.resource.group, self.name)


@dataclass(slots=True)
class Options:
    """How a write is to be done, and the warnings it raised."""

    manager: str = "unknown"
    dry_run: bool = False
    validation: str = "Warn"
    """``Ignore``, ``Warn`` or ``Strict``: what to do about unknown fields."""
    force: bool = False
    warnings: list[str] = field(default_factory=list)
