"""CRDs and the field reference as files: `python -m spillway.cli.crds <repository>`, or printed: `spillway crds`."""

import sys
from collections.abc import Sequence
from pathlib import Path

import yaml

from spillway.api.crd import KINDS, crd, crds
from spillway.api.reference import reference

HEADER = "# Generated from operator/spillway/api by `make generate`; edit the models there.\n"
FOLDERS = (Path("crds"), Path("charts/spillway/crds"), Path("charts/spillway-crds/templates"))
REFERENCE = Path("docs/reference.md")


class _Dumper(yaml.SafeDumper):
    def ignore_aliases(self, data: object) -> bool:  # noqa: ARG002  # a CRD has no anchors, however alike two parts are
        return True


def to_yaml(document: object) -> str:
    """Return a document as YAML in the order it was made."""
    return yaml.dump(document, Dumper=_Dumper, sort_keys=False, width=140, allow_unicode=True)


def write(root: Path) -> tuple[Path, ...]:
    """Write the CRDs (three identical copies: plain and one for either chart) and the field reference below `root`."""
    written = [_write(root / REFERENCE, reference())]
    for kind in KINDS:
        definition = crd(kind)
        text = HEADER + to_yaml(definition)
        written += [_write(root / folder / f"spillway.dev_{kind.plural}.yaml", text) for folder in FOLDERS]
    return tuple(written)


def render() -> str:
    """Return all CRDs as one stream of YAML documents, for `kubectl apply --server-side -f -`."""
    return "---\n".join(to_yaml(definition) for definition in crds())


def run(arguments: Sequence[str]) -> int:
    """Print the CRDs, or write all generated files below each folder given."""
    if not arguments:
        print(render(), end="")
    for root in arguments:
        write(Path(root))
    return 0


def _write(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


if __name__ == "__main__":
    sys.exit(run(sys.argv[1:]))
