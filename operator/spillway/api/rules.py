"""The CEL rules of the CRDs: what the API server refuses, and what it says then. A message tells what to do.

Each rule has an accept and a reject case in tests/apiserver/cel/<name>/. A rule reads only fields with bounds, since the API
server refuses a CRD whose rules could become expensive.
"""

from spillway.api.catalogue_rules import ACCELERATOR_RULES, PROVIDER_RULES
from spillway.api.gateway_rules import GATEWAY_RULES
from spillway.api.pod_rules import POD_RULES, TOLERATION_RULES
from spillway.api.replica_rules import REPLICA_RULES
from spillway.api.workload_rules import WORKLOAD_RULES

RULES = {
    "InferenceWorkload": WORKLOAD_RULES + REPLICA_RULES + GATEWAY_RULES + POD_RULES + TOLERATION_RULES,
    "HostedProvider": PROVIDER_RULES,
    "AcceleratorClass": ACCELERATOR_RULES + TOLERATION_RULES,
}
"""Kind → its rules."""
