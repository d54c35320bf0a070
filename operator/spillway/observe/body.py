"""Objects as the API server tells of them. Whatever is odd or absent in one reads as "not yet", never as an error."""

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any

from spillway.api.vocabulary import LABEL_WORKLOAD
from spillway.plan.decision import Key

Body = Mapping[str, Any]
Owner = tuple[Key, str]  # a workload, and its uid


def owner_of(body: Body) -> Key | None:
    """Return the workload in an object's label."""
    metadata = body["metadata"]
    name = (metadata.get("labels") or {}).get(LABEL_WORKLOAD)
    return Key(namespace=metadata.get("namespace", ""), name=name) if name else None


def version(body: Body) -> int:
    """Return the resourceVersion; 0 where it has none, or none that is a number."""
    text = str(body["metadata"].get("resourceVersion", ""))
    return int(text) if text.isdecimal() else 0


def controller_uid(body: Body) -> str | None:
    """Return the uid of the object's controller."""
    owners: list[dict[str, Any]] = body["metadata"].get("ownerReferences") or []
    return next((str(each.get("uid")) for each in owners if each.get("controller")), None)


def kept_for(config_map: Body, name: Callable[[str], str]) -> Owner | None:
    """Return the workload for which a ConfigMap keeps something; `name`: what that is called. None: nobody.

    The uid alone does not tell: in another namespace anybody may name any controller, and a copy names the same one.
    """
    key, uid = owner_of(config_map), controller_uid(config_map)
    return (key, uid) if key is not None and uid is not None and config_map["metadata"]["name"] == name(key.name) else None


def moment(text: object) -> datetime | None:
    """Return a time as Kubernetes writes it; None when it is none."""
    if not isinstance(text, str):
        return None
    try:
        return datetime.fromisoformat(text)
    except ValueError:
        return None


def part(body: Body, name: str) -> Body:
    """Return a part of an object; an empty one where it has none."""
    found = body.get(name)
    return found if isinstance(found, Mapping) else {}


def conditions_of(status: Body) -> dict[str, Body]:
    """Return the conditions in a status by their types."""
    return {each["type"]: each for each in status.get("conditions") or [] if "type" in each}


def whole(value: object, default: int) -> int:
    """Return a whole number, or `default` where it is none."""
    try:
        return int(value)  # type: ignore[call-overload, no-any-return]
    except (TypeError, ValueError):
        return default
