"""Static PersistentVolumes: nothing provisions volumes on a test cluster, so each is made by hand from a folder."""

import json

from tests.e2e.cluster.provider import STORAGE_CLASS, Volume

DEFAULT_VOLUME = "spillway-models"
DEFAULT_SIZE = "20Gi"
EVERY_MODE = ("ReadWriteOnce", "ReadWriteMany", "ReadOnlyMany")  # one node, so each is true
OPEN_TO_ALL = 0o777  # engines run as arbitrary non-root users and fill the cache themselves


def storage_class() -> str:
    """Return the StorageClass of the static volumes; it is the default one, so that a claim without a class binds too."""
    return json.dumps(
        {
            "apiVersion": "storage.k8s.io/v1",
            "kind": "StorageClass",
            "metadata": {"name": STORAGE_CLASS, "annotations": {"storageclass.kubernetes.io/is-default-class": "true"}},
            "provisioner": "kubernetes.io/no-provisioner",
            "volumeBindingMode": "Immediate",
        }
    )


def persistent_volume(volume: Volume, *, node: str) -> str:
    """Return the PersistentVolume of a folder on a node."""
    affinity = {"matchExpressions": [{"key": "kubernetes.io/hostname", "operator": "In", "values": [node]}]}
    return json.dumps(
        {
            "apiVersion": "v1",
            "kind": "PersistentVolume",
            "metadata": {"name": volume.name, "labels": {"app.kubernetes.io/managed-by": "spillway-e2e"}},
            "spec": {
                "capacity": {"storage": volume.size},
                "accessModes": list(volume.access_modes),
                "persistentVolumeReclaimPolicy": "Retain",
                "storageClassName": STORAGE_CLASS,
                "local": {"path": str(volume.host_path)},
                "nodeAffinity": {"required": {"nodeSelectorTerms": [affinity]}},
            },
        }
    )


def prepare(volume: Volume) -> None:
    """Make the volume's folder when it is missing; one that exists keeps its content and its mode."""
    if not volume.host_path.exists():
        volume.host_path.mkdir(parents=True)
        volume.host_path.chmod(OPEN_TO_ALL)
