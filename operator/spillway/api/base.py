"""What all API models share: camelCase on the wire, unknown fields ignored (a newer CRD may know more), immutable inside."""

from pydantic import BaseModel, ConfigDict
from pydantic.alias_generators import to_camel


class ApiModel(BaseModel):
    """Base of everything a user writes or reads."""

    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True, extra="ignore", frozen=True, protected_namespaces=())


class SecretKeyRef(ApiModel):
    """One key of a Secret in the same namespace."""

    name: str
    key: str


class NamedRef(ApiModel):
    """An object in the same namespace, by name."""

    name: str
