"""Requests to the API server through `kubernetes.aio`: its configuration, credentials and session, without its models.

The package's own way through a request (models, recursive sanitising) takes three times as long as the request itself; with
thousands of objects that is what an operator's core is spent on.
"""

import asyncio
import json
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager
from functools import lru_cache
from typing import Any
from urllib.parse import quote, urlencode
from urllib.request import getproxies

import aiohttp
from kubernetes.aio import config
from kubernetes.aio.client import ApiClient, Configuration

from spillway.api.vocabulary import API_VERSION

REQUEST_TIMEOUT_S = 11.0  # an admission webhook that does not answer takes 10 s by default, after which a write may still succeed
CONFLICT, INVALID, NOT_FOUND = 409, 422, 404
NAMESPACE_ENDS = "NamespaceTerminating"  # the type of a cause, k8s.io/api/core/v1

JSON = "application/json"
METADATA = "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1,application/json"
METADATA_LIST = "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1,application/json"
APPLY_PATCH = "application/apply-patch+yaml"
MERGE_PATCH = "application/merge-patch+json"
JSON_PATCH = "application/json-patch+json"

# The kinds that are read or written here, and the last part of their path.
PLURALS = {
    ("v1", "ConfigMap"): "configmaps",
    ("v1", "Pod"): "pods",
    ("v1", "Service"): "services",
    ("v1", "ServiceAccount"): "serviceaccounts",
    ("apps/v1", "Deployment"): "deployments",
    ("policy/v1", "PodDisruptionBudget"): "poddisruptionbudgets",
    ("autoscaling/v2", "HorizontalPodAutoscaler"): "horizontalpodautoscalers",
    ("networking.k8s.io/v1", "NetworkPolicy"): "networkpolicies",
    ("coordination.k8s.io/v1", "Lease"): "leases",
    ("events.k8s.io/v1", "Event"): "events",
    (API_VERSION, "InferenceWorkload"): "inferenceworkloads",
    (API_VERSION, "HostedProvider"): "hostedproviders",
    (API_VERSION, "AcceleratorClass"): "acceleratorclasses",
}
API_VERSIONS = {kind: api_version for api_version, kind in PLURALS}

_NO_TIMEOUT = aiohttp.ClientTimeout()  # of aiohttp's own; ours is around it
_encode = json.JSONEncoder(separators=(",", ":")).encode


class NoClusterError(Exception):
    """Neither a pod's ServiceAccount nor a kubeconfig says where the API server is."""


class ApiError(Exception):
    """The API server said no, or nothing. `status` is its code, 0 when there was no answer; `causes`: the types that it names."""

    def __init__(self, status: int, message: str, causes: Iterable[str] = ()) -> None:
        super().__init__(f"{status}: {message}" if status else message)
        self.status = status
        self.causes = frozenset(causes)

    @property
    def namespace_ends(self) -> bool:
        """Whether it said no because the namespace is being deleted, with all that is in it."""
        return NAMESPACE_ENDS in self.causes


def path(kind: str, namespace: str | None, name: str = "", *, subresource: str = "", query: Mapping[str, str] | None = None) -> str:
    """Return the path of an object, or of all of a kind; without a namespace, of all namespaces."""
    text = "/".join((_collection(kind, namespace), *(each for each in (quote(name), subresource) if each)))
    return f"{text}?{urlencode(query)}" if query else text


@lru_cache(maxsize=1024)
def _collection(kind: str, namespace: str | None) -> str:
    api_version = API_VERSIONS[kind]
    where = ("namespaces", quote(namespace)) if namespace else ()
    return "/".join(("", "api" if "/" not in api_version else "apis", api_version, *where, PLURALS[api_version, kind]))


class Connection:
    """A session with the API server. Every request has a timeout."""

    def __init__(self, client: ApiClient) -> None:
        self._client = client
        self._host: str = client.configuration.host.rstrip("/")
        self._pool = client.rest_client._create_pool_manager()  # noqa: SLF001  the session the package itself would use
        self._proxy: str | None = client.configuration.proxy
        self._server_name: str | None = client.configuration.tls_server_name

    async def request(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        content_type: str = JSON,
        accept: str = JSON,
        timeout_s: float = REQUEST_TIMEOUT_S,
    ) -> Any:
        """Send a request and return the answer's JSON. What is not a success is an ApiError."""
        content = await self.send(method, path, body, content_type=content_type, accept=accept, timeout_s=timeout_s)
        return json.loads(content)

    async def send(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        content_type: str = JSON,
        accept: str = JSON,
        timeout_s: float = REQUEST_TIMEOUT_S,
    ) -> bytes:
        """Send a request and return the answer as it came. A body of bytes is JSON already."""
        headers = {"Accept": accept, "Content-Type": content_type}
        await self._client.update_params_for_auth(headers, [], ["BearerToken"], path, method, None)
        data = body if body is None or isinstance(body, bytes) else _encode(body).encode()
        try:
            async with asyncio.timeout(timeout_s):
                response = await self._pool.request(
                    method,
                    self._host + path,
                    data=data,
                    headers=headers,
                    proxy=self._proxy,
                    server_hostname=self._server_name,
                    timeout=_NO_TIMEOUT,
                )
                async with response:
                    content = await response.read()
        except TimeoutError as problem:
            raise ApiError(0, f"no answer from the API server within {timeout_s:g} s") from problem
        except (aiohttp.ClientError, OSError) as problem:
            raise ApiError(0, f"API server: {str(problem) or type(problem).__name__}") from problem
        if response.status >= 400:  # noqa: PLR2004
            raise ApiError(response.status, _message(content), _causes(content))
        if not content or not response.content_type.endswith("json"):
            # A login page, or the error page of what stands between: it said nothing, and who asked goes on as if there were none.
            what = response.content_type if content else "nothing"
            raise ApiError(0, f"no answer of the API server, but {response.status} with {what} instead of JSON")
        return content

    async def close(self) -> None:
        """End the session."""
        await self._pool.close()
        await self._client.close()  # type: ignore[no-untyped-call]


@asynccontextmanager
async def connected(*, connections: int) -> AsyncIterator[Connection]:
    """Connect as the pod's service account, or as the kubeconfig says outside of a cluster. NoClusterError: neither is there."""
    configuration = await _configuration()
    configuration.connection_pool_maxsize = connections
    # Asked to trust the environment, aiohttp looks for a proxy in a thread of its own before each request.
    configuration.client_session_kwargs = {"trust_env": bool(getproxies())}
    connection = Connection(ApiClient(configuration))
    try:
        yield connection
    finally:
        await connection.close()


async def _configuration() -> Configuration:
    configuration = Configuration()
    try:
        config.load_incluster_config(client_configuration=configuration)  # type: ignore[no-untyped-call]
    except config.ConfigException as no_account:
        try:
            await config.load_kube_config(client_configuration=configuration)  # type: ignore[no-untyped-call]
        except config.ConfigException as no_kubeconfig:
            told = " ".join(f"{no_account} {no_kubeconfig}".split())
            raise NoClusterError(f"no cluster to act in ({told}); mount the pod's ServiceAccount token, or set KUBECONFIG") from None
    return configuration


def _message(content: bytes) -> str:
    try:
        return str(json.loads(content)["message"])
    except (KeyError, TypeError, ValueError):
        return content[:200].decode("utf-8", "replace")


def _causes(content: bytes) -> list[str]:
    try:
        return [str(each["reason"]) for each in json.loads(content)["details"]["causes"]]
    except (KeyError, TypeError, ValueError):
        return []
