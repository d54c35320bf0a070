"""Every image of the cluster in one list: where it is published, and how the same thing is made on this machine.

    archives(["gateway", "engine"])   name → docker-archive file, built when it is not in the cache
    reference("gateway")              the name a pod uses for the local build
    public_reference("gateway")       the name a pod uses where a registry is in reach; the chart's default

Images are named as on Docker Hub, by version and never by "latest". Builders are imported when they are needed: whoever asks
for a name alone needs neither root nor any of the build's tools.
"""

import tomllib
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

LOCAL = "localhost/spillway"


@dataclass(frozen=True, slots=True, kw_only=True)
class Image:
    """One image: its public name, and the function that makes the local archive under the name it is given."""

    public: str
    build: Callable[[str], Path]
    program: str = ""  # of `binaries`, where the image is nothing but that


def _gateway(reference: str) -> Path:
    from tests.e2e.cluster.images import gateway

    return gateway.image(reference)


def _engine(reference: str) -> Path:
    from tests.e2e.cluster.images import engines

    return engines.image(reference)


def _simulator(reference: str) -> Path:
    from tests.e2e.cluster.images import engines

    return engines.simulator_image(reference)


def _operator(reference: str) -> Path:
    from tests.e2e.cluster.images import operator_image

    return operator_image.image(reference)


def _program(name: str, public: str, *, user: str = "65532:65532") -> Image:
    def build(reference: str) -> Path:
        from tests.e2e.cluster.images import static

        return static.program(name, reference, user=user)

    return Image(public=public, build=build, program=name)


def _pause(reference: str) -> Path:
    from tests.e2e.cluster.images import static

    return static.pause(reference)


def _version() -> str:
    project = tomllib.loads((Path(__file__).parents[4] / "pyproject.toml").read_text())
    return str(project["project"]["version"])


IMAGES: dict[str, Image] = {
    "operator": Image(public=f"spillway/operator:{_version()}", build=_operator),
    "gateway": Image(public="envoyproxy/envoy:v1.40.0", build=_gateway),
    "engine": Image(public="vllm/vllm-openai:v0.32.0", build=_engine),
    "engine-sim": Image(public=f"spillway/engine-sim:{_version()}", build=_simulator),
    "prometheus": _program("prometheus", "prom/prometheus:v3.15.0"),
    "prometheus-adapter": _program("prometheus-adapter", "prometheus-adapter/prometheus-adapter:v0.12.0"),
    # The public image, too, is for root or for NET_BIND_SERVICE: it listens on port 53.
    "coredns": _program("coredns", "coredns/coredns:1.15.0", user="0:0"),
    "pause": Image(public="rancher/mirrored-pause:3.10", build=_pause),
}


def archives(names: Iterable[str]) -> dict[str, Path]:
    """Return the archives of these images, each built on first use and cached by what it is made of."""
    return {name: _image(name).build(reference(name)) for name in names}


def reference(name: str) -> str:
    """Return the name of the local build.

    The operator's carries a hash of its inputs: with a changed name a Helm upgrade rolls out what was edited.
    """
    version = _image(name).public.rpartition(":")[2].removeprefix("v")
    if name == "operator":
        from tests.e2e.cluster.images import operator_image

        version = f"{version}-{operator_image.content_key()}"
    return f"{LOCAL}/{name}:{version}"


def public_reference(name: str) -> str:
    """Return the name under which the image is published."""
    return _image(name).public


def _image(name: str) -> Image:
    try:
        return IMAGES[name]
    except KeyError:
        raise KeyError(f"no image called {name!r}; the known ones are {', '.join(IMAGES)}") from None
