"""The ledger as it is kept: one JSON document (plan.ledger_record) in ConfigMap <name>-ledger."""

import hashlib
from collections.abc import Mapping

from spillway.plan.decision import Ledger, Workload
from spillway.plan.money.ledger_record import from_json, to_json
from spillway.render import names
from spillway.render.manifest import KubernetesObject, child

COMPONENT_LEDGER = "ledger"
FILE = "ledger.json"
UNREADABLE = "unreadable"


def ledger_object(workload: Workload, ledger: Ledger, *, unreadable: Mapping[str, str] | None = None) -> KubernetesObject:
    """Return the ConfigMap that keeps the ledger; the same bytes for the same ledger. `unreadable` is kept beside it."""
    data = {FILE: to_json(ledger), **(unreadable or {})}
    return child(workload, kind="ConfigMap", name=names.ledger(workload.key.name), component=COMPONENT_LEDGER, data=data)


def parse_ledger(data: Mapping[str, str]) -> Ledger | None:
    """Return the ledger in a ConfigMap's data; None when there is none that can be read."""
    try:
        return from_json(data[FILE])
    except (KeyError, ValueError):
        return None


def unreadable_texts(data: Mapping[str, str]) -> dict[str, str]:
    """Return the texts in a ConfigMap's data that were to be ledgers and cannot be read, by the file each is kept under."""
    kept = {file: text for file, text in data.items() if file.startswith(UNREADABLE)}
    if FILE in data and parse_ledger(data) is None:
        text = data[FILE]
        kept[f"{UNREADABLE}-{hashlib.sha256(text.encode()).hexdigest()[:8]}.json"] = text
    return kept
