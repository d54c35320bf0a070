"""The whole product on a cluster: images on the node, the hosted stand-in, the chart by Helm, and the quickstart's surroundings."""

import base64
import json
import os
import re
import secrets
import subprocess
import time
import urllib.request
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import yaml

from spillway.api.vocabulary import COMPONENT_GATEWAY, LABEL_COMPONENT, PORT_GATEWAY_METRICS
from tests.e2e.cluster import binaries, images, stand_in
from tests.e2e.cluster.cache import say
from tests.e2e.cluster.certificates import Pair
from tests.e2e.cluster.engine import model
from tests.e2e.cluster.provider import STORAGE_CLASS, Cluster
from tests.e2e.cluster.stand_in import certificates

ROOT = Path(__file__).resolve().parents[2]
CHART = ROOT / "charts" / "spillway"
QUICKSTART = ROOT / "examples" / "quickstart"
SYSTEM_NAMESPACE = "spillway-system"
RELEASE = "spillway"
HOSTED_NAMESPACE = stand_in.NAMESPACE
HOSTED_KEY = "the-rented-endpoints-own-key"
HOSTED_MODEL = stand_in.SERVED_NAME
POLL_S = 0.25
RESTRICTED = {"pod-security.kubernetes.io/enforce": "restricted"}
OURS = {"app.kubernetes.io/managed-by": "spillway-e2e"}  # on namespaces that `down` deletes on a cluster that stays


def eventually(check: Callable[[], Any], *, within: float, what: str) -> Any:
    """Return the first truthy result of `check`; raise with the last thing seen when there is none in time.

    An AssertionError or a failed kubectl counts as "not yet".
    """
    deadline = time.monotonic() + within
    last: object = None
    while True:
        try:
            last = check()
        except (AssertionError, RuntimeError, KeyError) as not_yet:
            last = not_yet
        else:
            if last:
                return last
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {within:.0f} s: {what}; last seen: {last!r}")
        time.sleep(POLL_S)


class Stack:
    """One cluster with Spillway on it, as tests and the demo use it."""

    def __init__(self, cluster: Cluster, *, engine: str = "engine", placement: Mapping[str, float] | None = None) -> None:
        self.cluster = cluster
        self.engine = engine
        self._placement = dict(placement or {})  # the chart's values `operator.placement`, where a test cannot wait for an hour
        self._forwards: dict[tuple[str, int], tuple[int, subprocess.Popen[bytes]]] = {}

    def kubectl(self, *arguments: str, stdin: str | None = None) -> str:
        """Run kubectl."""
        return self.cluster.kubectl(*arguments, stdin=stdin)

    def get(self, *arguments: str) -> Any:
        """Return `kubectl get … -o json`, parsed."""
        return json.loads(self.kubectl("get", *arguments, "-o", "json"))

    def exists(self, *arguments: str) -> bool:
        """Tell whether an object exists."""
        return bool(self.kubectl("get", *arguments, "--ignore-not-found", "-o", "name").strip())

    def apply(self, *objects: dict[str, Any]) -> None:
        """Apply objects, by server-side apply."""
        self.kubectl("apply", "--server-side", "--force-conflicts", "-f", "-", stdin=yaml.safe_dump_all(objects))

    def patch(self, kind: str, namespace: str, name: str, body: dict[str, Any]) -> None:
        """Merge-patch an object."""
        self.kubectl("-n", namespace, "patch", kind, name, "--type=merge", "-p", json.dumps(body))

    def helm(self, *arguments: str) -> str:
        """Run Helm against the cluster; raise with its error output when it fails."""
        command = [
            str(binaries.path("helm")),
            "--kubeconfig",
            str(self.cluster.kubeconfig),
            "--kube-context",
            self.cluster.context,
            *arguments,
        ]
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=600)
        if done.returncode != 0:
            raise RuntimeError(f"`helm {' '.join(arguments)}` failed: {done.stderr.strip()}")
        return done.stdout

    def url(self, namespace: str, service: str, port: int = 80) -> str:
        """Return a URL on 127.0.0.1 for a Service; the forward lives until `close`."""
        return self._url(f"{service}.{namespace}", port)

    def pod_url(self, pod: dict[str, Any], port: int) -> str:
        """Return a URL on 127.0.0.1 for one pod, past every Service."""
        return self._url(pod["status"]["podIP"], port)

    def _url(self, host: str, port: int) -> str:
        target = (host, port)
        # One that has ended, as `kubectl port-forward` does with its pod, is made anew.
        if target not in self._forwards or self._forwards[target][1].poll() is not None:
            self._forwards[target] = self.cluster.forward(*target)
        return f"http://127.0.0.1:{self._forwards[target][0]}"

    def close(self, namespace: str | None = None) -> None:
        """End the forwards; of a namespace, those to its Services: made anew under the same names, they have other addresses."""
        for target in [each for each in self._forwards if namespace is None or each[0].endswith(f".{namespace}")]:
            _, process = self._forwards.pop(target)
            process.terminate()
            process.wait()

    # -- the parts -----------------------------------------------------------------------------------------------------

    def up(self) -> None:
        """Bring up the cluster with every image on it, the hosted stand-in and the chart. Idempotent."""
        self.cluster.up(("pause", "coredns", "prometheus", "gateway", "operator", self.engine))
        self.hosted()
        self.install()

    def await_hosted(self) -> None:
        """Wait until the hosted endpoint serves, which takes as long as a replica of our own."""
        self.kubectl("-n", HOSTED_NAMESPACE, "rollout", "status", "deployment", "--timeout=300s")

    def await_routing(self, namespace: str) -> None:
        """Wait until each gateway has a replica that it may ask, which it learns from DNS when the API server has known it for a while."""
        for gateway in self.get("-n", namespace, "pods", "-l", f"{LABEL_COMPONENT}={COMPONENT_GATEWAY}")["items"]:
            url = f"{self.pod_url(gateway, PORT_GATEWAY_METRICS)}/metrics"
            eventually(partial(_sees_a_replica, url), within=60, what=f"a replica in {gateway['metadata']['name']}'s routing")

    def hosted(self) -> None:
        """Start the hosted endpoint: a second vLLM behind HTTPS with an API key."""
        _, leaf = self._hosted_certificates()
        objects = stand_in.manifests(leaf, api_key=HOSTED_KEY, image=self.reference(self.engine), volume="")
        namespace, *rest = [each for each in objects if each["kind"] != "PersistentVolumeClaim"]
        self.namespace(HOSTED_NAMESPACE, namespace["metadata"]["labels"])
        self.claim(HOSTED_NAMESPACE, "hosted-model", model.model_dir("med"), mode="ReadOnlyMany")
        self.apply(*rest)

    def _hosted_certificates(self) -> tuple[Pair, Pair]:
        """Return the authority and the server's certificate of the hosted endpoint: made once for a cluster, kept beside its kubeconfig."""
        folder = self.cluster.kubeconfig.parent / "hosted-tls"
        names = [f"{who}.{part}" for who in ("authority", "leaf") for part in ("crt", "key")]
        if not folder.is_dir():
            authority, leaf = certificates.make()
            folder.mkdir(mode=0o700)
            for name, content in zip(names, (authority.certificate, authority.key, leaf.certificate, leaf.key), strict=True):
                (folder / name).write_bytes(content)
        found = [(folder / name).read_bytes() for name in names]
        return Pair(certificate=found[0], key=found[1]), Pair(certificate=found[2], key=found[3])

    def models(self, namespace: str, size: model.Size) -> None:
        """Make a namespace with a claim `models` that holds the tiny or the medium model. One of that name that ends is waited for."""
        if self.kubectl("get", "namespace", namespace, "--ignore-not-found", "-o", "jsonpath={.status.phase}") == "Terminating":
            self.kubectl("wait", f"namespace/{namespace}", "--for=delete", "--timeout=180s")
        self.namespace(namespace, RESTRICTED)
        self.claim(namespace, "models", model.model_dir(size))

    def namespace(self, name: str, labels: Mapping[str, str]) -> None:
        """Make a namespace that `down` may delete. One that somebody else made is left alone, and all that is in it: SystemExit."""
        found = self.kubectl("get", "namespace", name, "--ignore-not-found", "-o", "json").strip()
        if found and not OURS.items() <= json.loads(found)["metadata"].get("labels", {}).items():
            raise SystemExit(
                f"namespace {name} is there already and was not made by these tests, which change what is in it and delete it in the end; "
                "use a cluster without it"
            )
        self.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": {**labels, **OURS}}})

    def claim(self, namespace: str, name: str, folder: Path, *, mode: str = "ReadWriteMany") -> None:
        """Make a claim with a folder's content: on a cluster of ours the folder itself, elsewhere a copy on the default StorageClass."""
        if self.exists("-n", namespace, "persistentvolumeclaim", name):
            return
        try:
            volume = f"{name}-{namespace}-{secrets.token_hex(3)}"  # one that was bound before is never bound again
            self.cluster.local_volume(volume, folder, "1Gi", (mode,))
            place = {"storageClassName": STORAGE_CLASS, "volumeName": volume}
        except NotImplementedError:
            place = {}
        self.apply(
            {
                "apiVersion": "v1",
                "kind": "PersistentVolumeClaim",
                "metadata": {"name": name, "namespace": namespace},
                "spec": {"accessModes": [mode if place else "ReadWriteMany"], "resources": {"requests": {"storage": "1Gi"}}, **place},
            }
        )
        if not place:
            self._fill(namespace, name, folder)

    def _fill(self, namespace: str, claim: str, folder: Path) -> None:
        """Copy a folder onto a claim through a pod."""
        say(f"copying {folder.name} onto claim {namespace}/{claim} …")
        container = {
            "name": "fill",
            "image": self.reference("operator"),
            "command": ["sleep", "3600"],
            "securityContext": {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}},
            "volumeMounts": [{"name": "claim", "mountPath": "/claim"}],
        }
        spec = {
            "securityContext": {"runAsNonRoot": True, "runAsUser": 65532, "fsGroup": 65532, "seccompProfile": {"type": "RuntimeDefault"}},
            "containers": [container],
            "volumes": [{"name": "claim", "persistentVolumeClaim": {"claimName": claim}}],
        }
        pod = f"fill-{claim}"
        self.apply({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": pod, "namespace": namespace}, "spec": spec})
        self.kubectl("-n", namespace, "wait", f"pod/{pod}", "--for=condition=Ready", "--timeout=180s")
        self.kubectl("-n", namespace, "cp", f"{folder}/.", f"{pod}:/claim")
        self.kubectl("-n", namespace, "delete", "pod", pod, "--grace-period=1")

    def reference(self, name: str) -> str:
        """Return an image's name on the cluster: as built here, or as pushed under SPILLWAY_E2E_IMAGE_PREFIX for a cluster that pulls."""
        prefix = os.environ.get("SPILLWAY_E2E_IMAGE_PREFIX")
        built = images.reference(name)
        return f"{prefix}/{built.rpartition('/')[2]}" if prefix else built

    def secrets(self, namespace: str, *, key: str | None = HOSTED_KEY) -> None:
        """Make the Secrets that the quickstart's provider names: the key (unless None) and the certificate authority."""
        wanted = {"rented-ca": {"ca.crt": self._hosted_certificates()[0].certificate.decode()}}
        if key is not None:
            wanted["rented-key"] = {"api-key": key}
        for name, data in wanted.items():
            encoded = {k: base64.b64encode(v.encode()).decode() for k, v in data.items()}
            self.apply({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name, "namespace": namespace}, "data": encoded})

    def values(self) -> dict[str, Any]:
        """Return the chart's values for a cluster whose images were built here."""
        return {
            "image": self._image("operator"),
            "engine": {"image": self.reference(self.engine), "version": "0.32.0"},
            "gateway": {"image": self.reference("gateway")},
            "imagePullPolicy": "IfNotPresent",
            "operator": {
                "tickSeconds": 3,
                "metricsWindowSeconds": 20,
                "placement": self._placement,
            },
            "prometheus": {"install": True, "image": self._image("prometheus"), "scrapeInterval": "2s"},
        }

    def _image(self, name: str) -> dict[str, str]:
        repository, _, tag = self.reference(name).rpartition(":")
        return {"repository": repository, "tag": tag}

    def install(self) -> None:
        """Install or upgrade the chart and wait until its Deployments are up."""
        say("installing the chart with Helm …")
        self.namespace(SYSTEM_NAMESPACE, RESTRICTED)
        values = self.cluster.kubeconfig.parent / "values.yaml"
        values.write_text(yaml.safe_dump(self.values()))
        self.helm(
            "upgrade",
            "--install",
            RELEASE,
            str(CHART),
            "-n",
            SYSTEM_NAMESPACE,
            "-f",
            str(values),
            "--wait",
            "--timeout",
            "180s",
        )

    # -- workloads -----------------------------------------------------------------------------------------------------

    def workload(self, namespace: str, name: str = "chat") -> Any:
        """Return an InferenceWorkload as it is."""
        return self.get("-n", namespace, "inferenceworkload", name)

    def ledger(self, namespace: str, name: str = "chat") -> dict[str, Any]:
        """Return what a workload's ledger says."""
        written: dict[str, Any] = json.loads(self.get("-n", namespace, "configmap", f"{name}-ledger")["data"]["ledger.json"])
        return written

    def condition(self, namespace: str, type_: str, name: str = "chat") -> dict[str, Any]:
        """Return a condition, or one of status "absent"."""
        conditions = self.workload(namespace, name).get("status", {}).get("conditions", [])
        return next((c for c in conditions if c["type"] == type_), {"status": "absent", "reason": "", "message": ""})

    def operators(self) -> list[dict[str, Any]]:
        """Return the operator's pods."""
        return list(self.get("-n", SYSTEM_NAMESPACE, "pods", "-l", "app.kubernetes.io/component=operator")["items"])

    def await_condition(
        self, namespace: str, type_: str, status: str = "True", *, name: str = "chat", within: float = 120
    ) -> dict[str, Any]:
        """Wait until a condition has a status, and return it."""
        eventually(
            lambda: self.condition(namespace, type_, name)["status"] == status, within=within, what=f"{namespace}/{name} {type_}={status}"
        )
        return self.condition(namespace, type_, name)

    def quickstart(self, namespace: str = "quickstart", **changes: Any) -> list[dict[str, Any]]:
        """Return the quickstart's objects, moved to a namespace; `changes` replace parts of the workload's spec, deeply."""
        objects = [yaml.safe_load(path.read_text()) for path in sorted(QUICKSTART.glob("*.yaml"))]
        for item in objects:
            if "namespace" in item["metadata"]:
                item["metadata"]["namespace"] = namespace
            if item["kind"] == "InferenceWorkload":
                _merge(item["spec"], changes)
        return objects


def listing(usd_per_million_tokens: str) -> list[dict[str, str]]:
    """Return what the quickstart's provider lists, at another price."""
    return [{"name": HOSTED_MODEL, **dict.fromkeys(("inputUSDPerMillionTokens", "outputUSDPerMillionTokens"), usd_per_million_tokens)}]


def with_prices(objects: list[dict[str, Any]], usd_per_million_tokens: str) -> list[dict[str, Any]]:
    """Return the quickstart's objects with the hosted model at another price."""
    for item in objects:
        if item["kind"] == "HostedProvider":
            item["spec"]["models"] = listing(usd_per_million_tokens)
    return objects


def _merge(into: dict[str, Any], changes: dict[str, Any]) -> None:
    for key, value in changes.items():
        if value is None:
            into.pop(key, None)
        elif isinstance(value, dict) and isinstance(into.get(key), dict):
            _merge(into[key], value)
        else:
            into[key] = value


def _sees_a_replica(url: str) -> bool:
    with urllib.request.urlopen(url, timeout=5) as answer:
        healthy = re.search(r'^envoy_cluster_membership_healthy{envoy_cluster_name="owned"} (\d+)', answer.read().decode(), re.MULTILINE)
    return healthy is not None and int(healthy[1]) > 0
