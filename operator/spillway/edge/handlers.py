"""kopf as the edge: its watches and nothing else. No finalizer, no annotation, no Event, no status is ever written by it."""

import asyncio
import os
from datetime import UTC, datetime, timedelta
from itertools import repeat
from pathlib import Path
from typing import Any

import kopf

from spillway.api.vocabulary import GROUP, LABEL_WORKLOAD, VERSION
from spillway.edge.intake import Intake
from spillway.edge.pace import WatchPace, paced

WATCHED = {
    "AcceleratorClass": (GROUP, VERSION, "acceleratorclasses"),
    "HostedProvider": (GROUP, VERSION, "hostedproviders"),
    "InferenceWorkload": (GROUP, VERSION, "inferenceworkloads"),
    "Pod": ("", "v1", "pods"),
    "Deployment": ("apps", "v1", "deployments"),
    "Service": ("", "v1", "services"),
}
CATALOGUE = ("AcceleratorClass", "HostedProvider")
CHILDREN = ("Pod", "Deployment", "Service")

# Pauses between kopf's attempts while the API server answers with errors, or not at all. After the last one kopf ends, and the process with
# it; after some such ends the kubelet lets up to five minutes pass before the next start. So this is for an hour.
_RETRY_AFTER_S = (1, 1, 2, 3, 5, 8, 13, *repeat(20, 180))

_SERVICE_ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")
# Bound tokens are rotated well before they end; the file is read again this often.
_TOKEN_READ_EVERY = timedelta(minutes=5)


def registry(intake: Intake) -> kopf.OperatorRegistry:
    """Return the handlers. Each is told of one kind and returns None: whatever a kopf handler returns is patched into the object."""
    handlers = kopf.OperatorRegistry()
    pace = WatchPace(clock=asyncio.get_running_loop().time)

    @kopf.on.login(registry=handlers, id="login")
    async def login(**kwargs: Any) -> kopf.AiohttpSession | None:
        found = await asyncio.to_thread(_login, **kwargs)
        return None if found is None else paced(found, pace)

    for kind, resource in WATCHED.items():
        _watch(handlers, intake, kind, resource)
    return handlers


def settings() -> kopf.OperatorSettings:
    """Return kopf's settings: only our children are watched, and nothing is ever stored in an object."""
    found = kopf.OperatorSettings()
    found.posting.enabled = False
    found.peering.standalone = True
    found.scanning.disabled = True  # no rights on CRDs and namespaces are needed
    found.persistence.finalizer = f"{GROUP}/never-used"
    found.persistence.progress_storage = _NoProgress()
    found.persistence.diffbase_storage = _NoDiffs()
    found.networking.request_timeout = 30
    found.networking.connect_timeout = 10
    found.networking.error_backoffs = _RETRY_AFTER_S
    # The API server ends a watch in time, also where a load balancer on the way would freeze it.
    found.watching.server_timeout = 240
    found.watching.client_timeout = 300
    found.watching.chunk_size = 200
    found.watching.reconnect_backoff = 1.0  # before all is listed anew: a watch that expires at once made nine lists a second of it
    found.queueing.idle_timeout = 1.0
    found.process.ultimate_exiting_timeout = 30
    for kind in CHILDREN:
        found.watching.label_selectors[WATCHED[kind]] = LABEL_WORKLOAD
    return found


def _watch(handlers: kopf.OperatorRegistry, intake: Intake, kind: str, resource: tuple[str, str, str]) -> None:
    if kind in CATALOGUE:
        # An index function sees every object before any event handler runs, and blocks those until its kind has been listed: nobody
        # decides on half a catalogue. For the other kinds the stocktaking keeps that promise, at two thirds of an event's cost.
        @kopf.index(*resource, registry=handlers, id=f"index-{kind}")
        async def put(body: kopf.Body, **_: Any) -> None:
            intake.put(kind, dict(body))

    @kopf.on.event(*resource, registry=handlers, id=f"event-{kind}")
    async def event(event: kopf.RawEvent, **_: Any) -> None:
        # The object as it came: kopf's view of it is looked up key by key.
        if event["type"] == "DELETED":
            intake.gone(kind, event["object"])
        elif kind not in CATALOGUE:
            intake.put(kind, event["object"])


def _login(**kwargs: Any) -> kopf.ConnectionInfo | None:
    """Return the pod's service account, or what the kubeconfig says outside of a cluster."""
    host, port = os.environ.get("KUBERNETES_SERVICE_HOST"), os.environ.get("KUBERNETES_SERVICE_PORT")
    token = _SERVICE_ACCOUNT / "token"
    if not (host and port and token.exists()):
        return kopf.login_with_kubeconfig(**kwargs)
    return kopf.ConnectionInfo(
        server=f"https://{f'[{host}]' if ':' in host else host}:{port}",
        ca_path=str(_SERVICE_ACCOUNT / "ca.crt"),
        scheme="Bearer",
        token=token.read_text().strip(),
        expiration=datetime.now(UTC) + _TOKEN_READ_EVERY,
    )


class _NoProgress(kopf.ProgressStorage):
    """Keeps nothing: event handlers have no progress."""

    def fetch(self, **_: Any) -> None:
        return None

    def store(self, **_: Any) -> None:
        return None

    def purge(self, **_: Any) -> None:
        return None

    def touch(self, **_: Any) -> None:
        return None

    def clear(self, *, essence: Any) -> Any:
        return essence


class _NoDiffs(kopf.DiffBaseStorage):
    """Keeps nothing and compares nothing, which also spares a deep copy of every object at every event."""

    def build(self, **_: Any) -> Any:
        return {}

    def fetch(self, **_: Any) -> None:
        return None

    def store(self, **_: Any) -> None:
        return None
