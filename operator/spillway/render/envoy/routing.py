"""Which replica a request goes to: the one with the least load, or the one that has its prompt's beginning in its cache.

Under PrefixHash the edge's script makes a key of each request (prefix.lua), the owned listener keeps it for the balancer, and the balancer
asks a table in which every replica has its part. A replica that has its fill is passed over: consistent hashing with bounded loads
(Mirrokni, Thorup and Zadimoghaddam, arXiv:1608.01350), where the next one follows from the key too (arXiv:1908.08762).
"""

from spillway.api.gateway import Gateway
from spillway.api.routing import DEFAULT_PREFIX_BYTES, Routing
from spillway.render.envoy.http import EnvoyConfig, extension, http_filter, lua

KEY = "x-spillway-prefix"  # the edge's mark, for the owned listener alone
_STATE = "spillway.prefix"
# A replica takes at most 1.25 times the mean in flight, or one request more; the factor of the paper's example and of its first users.
_BALANCE_PERCENT = 125
# Maglev rather than a ring: when one of four replicas goes, 0.3 % of all keys move between others, and 9 % do on Envoy's ring, whose fixed
# number of places is shared out anew (600 keys, Envoy 1.40; 0.2 and 8 % with eight replicas).
_TABLE_SIZE = 65_537  # Envoy's default, a prime


def hashes(gateway: Gateway) -> bool:
    """Return whether requests with the same beginning go to the same replica."""
    return gateway.routing is Routing.PREFIX_HASH


def key_filters(gateway: Gateway) -> list[EnvoyConfig]:
    """Return the edge's filter that makes the key, for behind the one that has read the body."""
    if not hashes(gateway):
        return []
    length = DEFAULT_PREFIX_BYTES if gateway.prefix_bytes is None else gateway.prefix_bytes
    return [lua("json", "prefix", name=_STATE, above=f"local PREFIX_BYTES = {length}\n")]


def owned_filters(gateway: Gateway) -> list[EnvoyConfig]:
    """Return the owned listener's filter that keeps the key: the header is gone before a replica is chosen a second time."""
    if not hashes(gateway):
        return []
    value = {
        "object_key": _STATE,
        "factory_key": "envoy.hashable_string",
        "format_string": {"text_format_source": {"inline_string": f"%REQ({KEY})%"}, "omit_empty_values": True},
        "skip_if_empty": True,
    }
    return [http_filter("set_filter_state", "Config", on_request_headers=[value])]


def hash_policy(gateway: Gateway) -> EnvoyConfig:
    """Return the part of a route to the replicas that says what is hashed. A request without a key is drawn by lot, within the bound."""
    return {"hash_policy": [{"filter_state": {"key": _STATE}}]} if hashes(gateway) else {}


def balancing_policy(gateway: Gateway) -> EnvoyConfig:
    """Return how a replica is chosen."""
    if hashes(gateway):
        maglev = "envoy.extensions.load_balancing_policies.maglev.v3.Maglev"
        bound = {"hash_balance_factor": _BALANCE_PERCENT}
        return extension("envoy.load_balancing_policies.maglev", maglev, table_size=_TABLE_SIZE, consistent_hashing_lb_config=bound)
    least = "envoy.extensions.load_balancing_policies.least_request.v3.LeastRequest"
    return extension("envoy.load_balancing_policies.least_request", least, selection_method="FULL_SCAN")
