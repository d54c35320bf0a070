"""What all API models share: camelCase on the wire, unknown fields ignored (a newer CRD may know more), immutable inside."""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pydantic.alias_generators import to_camel


class ApiModel(BaseModel):
    """Base of everything a user writes or reads."""

    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True, extra="ignore", frozen=True, protected_namespaces=())


class SecretKeyRef(ApiModel):
    """One key of a Secret in the same namespace."""

    name: Annotated[str, Field(min_length=1, max_length=253, description="Name of the Secret, in the same namespace.")]
    key: Annotated[str, Field(min_length=1, max_length=253, pattern=r"^[-._a-zA-Z0-9]+$", description="Key in the Secret's data.")]


class NamedRef(ApiModel):
    """An object in the same namespace, by name."""

    name: Annotated[str, Field(min_length=1, max_length=253, description="Name of the object, in the same namespace.")]


def first_error(problem: ValidationError) -> str:
    """Return where a model found the first thing wrong, and what: `model.id: Field required`."""
    error = problem.errors()[0]
    return f"{'.'.join(str(part) for part in error['loc'])}: {error['msg']}"
