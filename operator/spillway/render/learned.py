"""What was learned as it is kept: one JSON document (plan.learned) in ConfigMap <name>-learned."""

from collections.abc import Mapping

from spillway.plan.decision import Workload
from spillway.plan.learned import Learned, from_json, to_json
from spillway.render import names
from spillway.render.manifest import KubernetesObject, child

COMPONENT_LEARNED = "learned"
FILE = "learned.json"


def learned_object(workload: Workload, learned: Learned) -> KubernetesObject:
    """Return the ConfigMap that keeps it; the same bytes for the same values."""
    name = names.learned(workload.key.name)
    return child(workload, kind="ConfigMap", name=name, component=COMPONENT_LEARNED, data={FILE: to_json(learned)})


def parse_learned(data: Mapping[str, str]) -> Learned | None:
    """Return what a ConfigMap's data keeps; None where that is nothing. Raises ValueError, with why, where it cannot be read."""
    return from_json(data[FILE]) if FILE in data else None
