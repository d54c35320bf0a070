"""What `spillway report` reads from a cluster, as the kubeconfig's user. Every trouble is told by what, which and what next."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar, cast

import yaml
from pydantic import ValidationError

from spillway.api.base import ApiModel, first_error
from spillway.api.catalogue import AcceleratorClassSpec, HostedProviderSpec
from spillway.api.status import InferenceWorkloadStatus
from spillway.api.vocabulary import GROUP, VERSION
from spillway.api.workload import InferenceWorkloadSpec
from spillway.cli.bad_input import BadInputError
from spillway.report.usage import Seen

Spec = TypeVar("Spec", bound=ApiModel)

TIMEOUT_S = (5.0, 30.0)  # to connect, to answer
PAGE = 250  # objects of one answer
WORKLOADS, PROVIDERS, CLASSES = "inferenceworkloads", "hostedproviders", "acceleratorclasses"


class ClusterError(Exception):
    """The cluster cannot be asked, or says no."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Contents:
    """Everything of ours within reach."""

    workloads: tuple[Seen, ...]
    providers: Mapping[tuple[str, str], HostedProviderSpec] = field(default_factory=dict)
    classes: Mapping[str, AcceleratorClassSpec] = field(default_factory=dict)
    remarks: tuple[str, ...] = ()  # what could not be read, and what that means


class Cluster:
    """An API server, as one context of a kubeconfig names it; inside of a cluster, the pod's own."""

    def __init__(self, *, kubeconfig: str | None, context: str | None, page: int = PAGE) -> None:
        """Read the kubeconfig. Raises BadInputError where it cannot be used."""
        from kubernetes import client, config

        configuration = client.Configuration()
        self._page_size = page
        self.namespace = "default"  # of the context, or of the pod
        try:
            if kubeconfig is None and context is None and not _has_kubeconfig():
                config.load_incluster_config(client_configuration=configuration)  # type: ignore[no-untyped-call]
                self.namespace = _namespace_beside(config.incluster_config.SERVICE_TOKEN_FILENAME) or self.namespace
            else:
                file = kubeconfig or _kubeconfig()
                config.load_kube_config(config_file=file, context=context, client_configuration=configuration)  # type: ignore[no-untyped-call]
                self.namespace = _namespace_of(config, file, context)
        except (config.ConfigException, yaml.YAMLError, OSError, ValueError, TypeError, KeyError, AttributeError) as problem:
            raise BadInputError(_unusable(kubeconfig, context, problem)) from None
        configuration.retries = False
        self._host: str = configuration.host
        self._api = client.CustomObjectsApi(client.ApiClient(configuration))

    def contents(self, namespace: str | None) -> Contents:
        """Return what is in a namespace, or in all of them. Raises ClusterError where workloads cannot be read."""
        remarks: list[str] = []
        workloads = tuple(each for body in self._list(WORKLOADS, namespace) if (each := _workload(body, remarks)) is not None)
        providers = {
            (body["metadata"]["namespace"], body["metadata"]["name"]): spec
            for body in self._list_if_allowed(PROVIDERS, namespace, "no advice about renting elsewhere", remarks)
            if (spec := _spec(HostedProviderSpec, "HostedProvider", body, remarks)) is not None
        }
        classes = {
            body["metadata"]["name"]: accelerator
            for body in self._list_if_allowed(CLASSES, None, "no advice about what is owned", remarks)
            if (accelerator := _spec(AcceleratorClassSpec, "AcceleratorClass", body, remarks)) is not None
        }
        return Contents(workloads=workloads, providers=providers, classes=classes, remarks=tuple(remarks))

    def _list_if_allowed(self, plural: str, namespace: str | None, without: str, remarks: list[str]) -> list[dict[str, Any]]:
        try:
            return list(self._list(plural, namespace))
        except ClusterError as problem:
            remarks.append(f"{problem}. Until then there is {without}.")
            return []

    def _list(self, plural: str, namespace: str | None) -> Iterator[dict[str, Any]]:
        token: str | None = None
        while True:
            answer = self._page(plural, namespace, token)
            yield from answer.get("items") or []
            token = (answer.get("metadata") or {}).get("continue")
            if not token:
                return

    def _page(self, plural: str, namespace: str | None, token: str | None) -> dict[str, Any]:
        from kubernetes.client import ApiException
        from urllib3.exceptions import HTTPError

        query: dict[str, Any] = {"limit": self._page_size, "_request_timeout": TIMEOUT_S} | ({"_continue": token} if token else {})
        try:
            if namespace is None or plural == CLASSES:
                answer = self._api.list_cluster_custom_object(GROUP, VERSION, plural, **query)
            else:
                answer = self._api.list_namespaced_custom_object(GROUP, VERSION, namespace, plural, **query)
        except ApiException as problem:
            if not problem.status:  # TLS, for one
                raise ClusterError(self._silence(" ".join(str(problem.reason).split()))) from None
            raise ClusterError(_refusal(problem.status, _message(problem.body or problem.reason), plural, namespace)) from None
        except (HTTPError, OSError) as problem:
            raise ClusterError(self._silence(_reason(problem))) from None
        except ValueError:
            answer = None  # no JSON
        if not isinstance(answer, dict):
            raise ClusterError(f"{self._host} does not answer as an API server does; see that the kubeconfig names the right address")
        return cast("dict[str, Any]", answer)

    def _silence(self, reason: str) -> str:
        return f"no answer from the cluster at {self._host}: {reason}; see that it runs and is reachable"


def _kubeconfig() -> str:
    """Return where the kubeconfig is when nobody says: the library takes a KUBECONFIG that is set to nothing for a path."""
    import os

    return os.environ.get("KUBECONFIG") or "~/.kube/config"


def _has_kubeconfig() -> bool:
    import os
    from pathlib import Path

    return (
        bool(os.environ.get("KUBECONFIG")) or Path("~/.kube/config").expanduser().is_file() or "KUBERNETES_SERVICE_HOST" not in os.environ
    )


def _namespace_beside(token: str) -> str:
    """Return the pod's namespace, which the kubelet puts beside its token; nothing where it did not."""
    told = Path(token).with_name("namespace")
    return told.read_text(encoding="utf-8").strip() if told.is_file() else ""


def _namespace_of(config: Any, kubeconfig: str, context: str | None) -> str:
    # Not by the library's list of contexts, which takes a current one for granted: --context does without.
    read = config.kube_config.KubeConfigMerger(kubeconfig).config
    chosen = read["contexts"].get_with_name(read["current-context"] if context is None else context)
    return str(chosen["context"].safe_get("namespace") or "default")


def _unusable(kubeconfig: str | None, context: str | None, problem: Exception) -> str:
    where = kubeconfig or "the kubeconfig"
    what = str(problem).splitlines()[0].rstrip(".") if str(problem) else type(problem).__name__
    if kubeconfig and not Path(kubeconfig).exists():  # the library says the same of an empty one
        what = "there is no such file"
    which = f" (context {context})" if context else ""
    return f"{where}{which} cannot be used: {what}; name a file with --kubeconfig, or one of its contexts with --context"


def _refusal(status: int, message: str, plural: str, namespace: str | None) -> str:
    where = f"namespace {namespace}" if namespace else "the cluster"
    match status:
        case 401:
            return "the cluster does not know this user (401); log in again, or choose another --context"
        case 403:
            scope = "cluster" if namespace is None or plural == CLASSES else f"namespace {namespace}"
            hint = "; or name one with --namespace" if namespace is None and plural != CLASSES else ""
            return f"no right to list {plural}.{GROUP} in the {scope} (403); ask for the role `view`, which the chart adds them to{hint}"
        case 404:
            return f"the cluster has no {plural}.{GROUP} {VERSION}; install the CRDs: spillway crds | kubectl apply --server-side -f -"
        case _:
            return f"the API server refused to list {plural}.{GROUP} in {where} ({status}): {message}; try again"


def _message(body: Any) -> str:
    try:
        return str(json.loads(body)["message"])
    except (KeyError, TypeError, ValueError):
        return str(body)[:200]


def _reason(problem: Exception) -> str:
    inner = getattr(problem, "reason", None) or problem
    text = str(inner).rpartition(": ")[2]
    return (text if "(" in text else text.rstrip(")")) or type(inner).__name__


def _workload(body: Mapping[str, Any], remarks: list[str]) -> Seen | None:
    spec = _spec(InferenceWorkloadSpec, "InferenceWorkload", body, remarks)
    if spec is None:
        return None
    metadata = body["metadata"]
    try:
        status = InferenceWorkloadStatus.model_validate(body["status"]) if body.get("status") else None
    except ValidationError as problem:
        remarks.append(
            f"InferenceWorkload {_label(body)}: its status cannot be read ({first_error(problem)}); is this version as new as the operator?"
        )
        status = None
    return Seen(
        namespace=metadata["namespace"],
        name=metadata["name"],
        spec=spec,
        created_at=datetime.fromisoformat(metadata["creationTimestamp"]).astimezone(UTC),
        status=status,
    )


def _spec(kind_spec: type[Spec], kind: str, body: Mapping[str, Any], remarks: list[str]) -> Spec | None:
    try:
        return kind_spec.model_validate(body.get("spec"))
    except ValidationError as problem:
        remarks.append(f"{kind} {_label(body)}: its spec cannot be read ({first_error(problem)}), so it is left out; correct it.")
        return None


def _label(body: Mapping[str, Any]) -> str:
    metadata = body["metadata"]
    return f"{metadata['namespace']}/{metadata['name']}" if metadata.get("namespace") else str(metadata["name"])
