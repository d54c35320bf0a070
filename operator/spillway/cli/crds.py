"""What is generated from the models and the chart: `python -m spillway.cli.crds <repository>`. `spillway crds` prints the CRDs."""

import json
import sys
from collections.abc import Sequence
from pathlib import Path

import yaml

from spillway.api.crd import KINDS, crd, crds, schema
from spillway.api.plan_output import OutputModel, PlanOutput
from spillway.api.reference import reference
from spillway.api.report_output import ReportOutput
from spillway.api.simulate_output import SimulateOutput

HEADER = "# Generated from operator/spillway/api by `make generate`; edit the models there.\n"
FOLDERS = (Path("crds"), Path("charts/spillway/crds"), Path("charts/spillway-crds/templates"))
REFERENCE = Path("docs/reference.md")
PLAN_SCHEMA = Path("docs/plan-output.schema.json")
REPORT_SCHEMA = Path("docs/report-output.schema.json")
SIMULATE_SCHEMA = Path("docs/simulate-output.schema.json")
VALUES = Path("charts/spillway/values.yaml")
CATALOGUE = Path("operator/spillway/cli/accelerator_classes.json")  # what `spillway plan` takes where no AcceleratorClass is given
SPEC_SCHEMAS = Path("operator/spillway/cli/spec_schemas.json")  # what `spillway plan` holds manifests to
_CLUSTER_ONLY = ("nodeSelector", "tolerations")


class _Dumper(yaml.CSafeDumper):
    def ignore_aliases(self, data: object) -> bool:  # noqa: ARG002  # a CRD has no anchors, however alike two parts are
        return True


def to_yaml(document: object) -> str:
    """Return a document as YAML in the order it was made."""
    return yaml.dump(document, Dumper=_Dumper, sort_keys=False, width=140, allow_unicode=True)


def write(root: Path) -> tuple[Path, ...]:
    """Write what is generated below `root`.

    That is the CRDs (three identical copies: plain and one for either chart), the field reference, the schemas of what commands print,
    and for the command line the schemas of manifests and the chart's catalogue of accelerators.
    """
    written = [
        _write(root / REFERENCE, reference()),
        _write(root / PLAN_SCHEMA, output_schema(PlanOutput)),
        _write(root / REPORT_SCHEMA, output_schema(ReportOutput)),
        _write(root / SIMULATE_SCHEMA, output_schema(SimulateOutput)),
        _write(root / SPEC_SCHEMAS, spec_schemas()),
    ]
    if (root / VALUES).is_file():
        written.append(_write(root / CATALOGUE, catalogue((root / VALUES).read_text())))
    for kind in KINDS:
        definition = crd(kind)
        text = HEADER + to_yaml(definition)
        written += [_write(root / folder / f"spillway.dev_{kind.plural}.yaml", text) for folder in FOLDERS]
    return tuple(written)


def output_schema(output: type[OutputModel]) -> str:
    """Return the JSON schema of what a command prints with -o json."""
    whole = output.model_json_schema(by_alias=True, mode="serialization")
    return json.dumps({"$schema": "https://json-schema.org/draft/2020-12/schema"} | whole, indent=2, ensure_ascii=False) + "\n"


def spec_schemas() -> str:
    """Return the schema of each kind's spec as JSON."""
    return json.dumps({kind.kind: schema(kind)["properties"]["spec"] for kind in KINDS}, indent=1, ensure_ascii=False) + "\n"


def catalogue(values: str) -> str:
    """Return the accelerator classes of the chart's values as JSON, without what only a cluster needs."""
    classes = yaml.load(values, yaml.CSafeLoader)["acceleratorClasses"]["catalogue"]
    needed = {name: {key: value for key, value in spec.items() if key not in _CLUSTER_ONLY} for name, spec in classes.items()}
    return json.dumps(needed, indent=2) + "\n"


def render() -> str:
    """Return all CRDs as one stream of YAML documents, for `kubectl apply --server-side --force-conflicts -f -`."""
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
