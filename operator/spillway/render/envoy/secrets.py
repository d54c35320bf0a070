"""Secrets that Envoy reads from files: a file of ours says where the mounted one is, and a change of the mounted one is followed.

The mounted file must be there from the start: when a file is new, the kubelet makes its link only after the rename that Envoy watches for,
too late. Hence each volume is a projection of a file that stands for an absent Secret and, over it, the Secret (optional).
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from spillway.render.envoy.address import GatewayAddresses
from spillway.render.envoy.http import EnvoyConfig, seconds, typed

_SECRET = "envoy.extensions.transport_sockets.tls.v3.Secret"  # noqa: S105  (a message's name)


@dataclass(frozen=True, slots=True, kw_only=True)
class Mount:
    """A Secret (or a ConfigMap) that the gateway's pods mount as a folder, and the files that are there while it is not, by name.

    These files are what is mounted: other entries of the Secret do not reach the pod. What stands for them lies in the ConfigMap of static
    files under their own names: a projection of single entries of both onto one path is refused by the API server.
    """

    name: str
    source_name: str
    mount_path: str
    absent: Mapping[str, str]
    entries: Mapping[str, str] = field(default_factory=dict)  # file → entry, where they are called differently
    kind: Literal["secret", "configMap"] = "secret"


def mounted(addresses: GatewayAddresses, *, file: str, folder: str) -> EnvoyConfig:
    """Return a secret's source: a file of ours that names the mounted one, read again when the kubelet renames something in `folder`."""
    path = {"path": f"{addresses.config_folder}/{file}", "watched_directory": {"path": folder}}
    return {"initial_fetch_timeout": seconds(1), "path_config_source": path}


def secret_file(name: str, **content: object) -> EnvoyConfig:
    """Return the content of the file of ours."""
    return {"resources": [typed(_SECRET, name=name, **content)]}
