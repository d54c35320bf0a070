"""The ledger as it is kept: one JSON document (plan.ledger) in ConfigMap <name>-ledger."""

from collections.abc import Mapping

from spillway.plan.decision import Ledger, Workload
from spillway.plan.ledger import from_json, to_json
from spillway.render import names
from spillway.render.manifest import KubernetesObject, child

COMPONENT_LEDGER = "ledger"
FILE = "ledger.json"


def ledger_object(workload: Workload, ledger: Ledger) -> KubernetesObject:
    """Return the ConfigMap that keeps the ledger; the same bytes for the same ledger."""
    return child(workload, kind="ConfigMap", name=names.ledger(workload.key.name), component=COMPONENT_LEDGER, data={FILE: to_json(ledger)})


def parse_ledger(data: Mapping[str, str]) -> Ledger | None:
    """Return the ledger in a ConfigMap's data; None when there is none that can be read."""
    try:
        return from_json(data[FILE])
    except (KeyError, ValueError):
        return None
