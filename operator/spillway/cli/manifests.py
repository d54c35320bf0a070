"""What `spillway plan -f` reads: the same manifests as the cluster. What is wrong with them is told by file and field, all at once."""

import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from spillway.api.base import ApiModel
from spillway.api.catalogue import AcceleratorClassSpec, HostedProviderSpec
from spillway.api.conformance import broken_rules, violations
from spillway.api.crd import KINDS, Kind
from spillway.api.schema import Schema
from spillway.api.vocabulary import API_VERSION, GROUP
from spillway.api.workload import InferenceWorkloadSpec
from spillway.cli.bad_input import BadInputError

SCHEMAS = "spec_schemas.json"  # of each kind, written by `make generate`
SUFFIXES = (".yaml", ".yml", ".json")
MOST_PROBLEMS = 20  # more than these are not printed
LONGEST_TOLD = 80  # characters of what is no path
DEEPEST = 200  # levels of a document, ten times those of any object: libyaml's stack ends the program somewhere beyond ten thousand
_KINDS = {kind.kind: kind for kind in KINDS}


@dataclass(frozen=True, slots=True, kw_only=True)
class NamedWorkload:
    """A workload and where it is from."""

    namespace: str | None
    name: str
    file: str
    spec: InferenceWorkloadSpec

    @property
    def label(self) -> str:
        """`<namespace>/<name>`, or the name alone."""
        return f"{self.namespace}/{self.name}" if self.namespace else self.name


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifests:
    """Everything of ours in the files. Providers are kept by namespace and name."""

    workloads: tuple[NamedWorkload, ...] = ()
    providers: Mapping[tuple[str | None, str], HostedProviderSpec] = field(default_factory=dict)
    classes: Mapping[str, AcceleratorClassSpec] = field(default_factory=dict)

    def providers_for(self, workload: NamedWorkload) -> dict[str, HostedProviderSpec]:
        """Return the providers a workload can name: those of its namespace; a file that states none belongs to all."""
        return {
            name: provider
            for (namespace, name), provider in self.providers.items()
            if workload.namespace is None or namespace in {None, workload.namespace}
        }


def read_manifests(paths: Sequence[str]) -> Manifests:
    """Read files, folders and `-` for standard input."""
    problems: list[str] = []
    parsed: list[tuple[str, dict[str, Any], ApiModel]] = []
    for file in _files(paths, problems):
        for document in _documents(file, problems):
            found = _parse(file, document, problems)
            if found is not None:
                parsed.append((file, *found))
    if problems:
        raise BadInputError(*_shortened(problems))
    return _sorted_out(parsed)


def _sorted_out(parsed: Sequence[tuple[str, dict[str, Any], ApiModel]]) -> Manifests:
    workloads: list[NamedWorkload] = []
    providers: dict[tuple[str | None, str], HostedProviderSpec] = {}
    classes: dict[str, AcceleratorClassSpec] = {}
    for file, metadata, spec in parsed:
        namespace, name = metadata.get("namespace"), metadata["name"]
        match spec:
            case InferenceWorkloadSpec():
                workloads.append(NamedWorkload(namespace=namespace, name=name, file=file, spec=spec))
            case HostedProviderSpec():
                providers[namespace, name] = spec
            case AcceleratorClassSpec():
                classes[name] = spec
            case _:
                continue
    return Manifests(workloads=tuple(workloads), providers=providers, classes=classes)


def _files(paths: Sequence[str], problems: list[str]) -> Iterator[str]:
    for path in paths:
        try:
            if path == "-" or not Path(path).is_dir():
                yield path
                continue
            inside = sorted(str(each) for each in Path(path).iterdir() if each.suffix in SUFFIXES and each.is_file())
        except OSError as problem:  # one that may not be looked into; or the manifest's text where its path should be
            told = next(iter(path.splitlines()), "")[:LONGEST_TOLD]
            problems.append(f"{told}: cannot be read: {problem.strerror or problem}; give the path of a manifest")
            continue
        if not inside:
            problems.append(f"{path}: the folder has no {', '.join(SUFFIXES)} file; name the file")
        yield from inside


def _documents(file: str, problems: list[str]) -> list[Any]:
    try:
        text = sys.stdin.read() if file == "-" else Path(file).read_text(encoding="utf-8")
        if _is_too_deep(text):
            problems.append(f"{file}: is nested more than {DEEPEST} levels deep; correct it")
            return []
        return [each for document in yaml.load_all(text, Loader=_Loader) for each in _objects(_without_nothing(document))]
    except OSError as problem:
        problems.append(f"{file}: cannot be read: {problem.strerror or problem}; give the path of a manifest")
    except UnicodeDecodeError:
        problems.append(f"{file}: is not UTF-8 text; give a YAML or JSON manifest")
    except yaml.MarkedYAMLError as problem:
        where = f", line {problem.problem_mark.line + 1}" if problem.problem_mark else ""
        why = f"{problem.problem or problem.context}; correct the line, indentation included"
        if problem.problem_mark and _is_indented_with_tabs(text, problem.problem_mark.line):
            why = "it is indented with a tab, which YAML does not take; indent it with spaces"
        problems.append(f"{file}{where}: is not YAML: {why}")
    except (yaml.YAMLError, ValueError) as problem:
        problems.append(f"{file}: is not YAML: {str(problem).splitlines()[0]}; correct it")
    except RecursionError:
        problems.append(f"{file}: is nested too deeply, or refers to itself; write it without the alias")
    return []


def _is_indented_with_tabs(text: str, line: int) -> bool:
    lines = text.splitlines()
    return line < len(lines) and "\t" in lines[line][: -len(lines[line].lstrip()) or None]


def _is_too_deep(text: str) -> bool:
    """Whether a document has more levels than `DEEPEST`, told without making one."""
    depth = 0
    for event in yaml.parse(text, Loader=_Loader):
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        if depth > DEEPEST:
            return True
    return False


def _objects(document: Any) -> Iterator[Any]:
    """Give a document's objects: those of a List, as `kubectl get -o yaml` writes several, else the document itself."""
    listed = document.get("items") if isinstance(document, dict) and str(document.get("kind")).endswith("List") else None
    if not isinstance(listed, list):
        yield document
        return
    for each in listed:
        yield from _objects(each)


def _parse(file: str, document: Any, problems: list[str]) -> tuple[dict[str, Any], ApiModel] | None:
    if document is None or document == {}:
        return None
    if not isinstance(document, dict) or not isinstance(document.get("kind"), str) or not isinstance(document.get("apiVersion"), str):
        problems.append(f"{file}: a document is no Kubernetes object; it needs apiVersion, kind, metadata and spec")
        return None
    kind = _KINDS.get(document["kind"])
    if kind is None and not document["apiVersion"].startswith(f"{GROUP}/"):
        return None  # a namespace, a secret: the file may hold the rest of an installation
    metadata = document.get("metadata")
    name = metadata.get("name") if isinstance(metadata, dict) else None
    where = f"{file}: {document['kind']} {name if isinstance(name, str) else '(without a name)'}"
    if document["apiVersion"] != API_VERSION or kind is None:
        problems.append(
            f"{where}: {document['apiVersion']} {document['kind']} is not known; there are {', '.join(_KINDS)} of {API_VERSION}"
        )
        return None
    if not isinstance(metadata, dict) or not isinstance(name, str) or not isinstance(metadata.get("namespace", ""), str):
        problems.append(f"{where}: metadata.name is missing or no text; give the object a name")
        return None
    spec = _spec(where, kind, document, problems)
    return None if spec is None else (metadata, spec)


def _spec(where: str, kind: Kind, document: Mapping[str, Any], problems: list[str]) -> ApiModel | None:
    raw = document.get("spec")
    found = [*violations({} if raw is None else raw, _spec_schema(kind.kind), "spec")]
    if not found and isinstance(raw, dict):
        found = [*broken_rules(kind.kind, raw)]
    problems += [f"{where}: {each.field}: {each.message}" for each in found]
    if found:
        return None
    try:
        return kind.spec.model_validate(raw)
    except ValidationError as problem:
        problems += [
            f"{where}: spec.{'.'.join(str(part) for part in each['loc'])}: {each['msg']}; see docs/reference.md"
            for each in problem.errors()
        ]
        return None


@cache
def _spec_schema(kind: str) -> Schema:
    """Return a kind's schema as `make generate` wrote it down: making it anew takes a third of the command's time."""
    found: Schema = json.loads(resources.files("spillway.cli").joinpath(SCHEMAS).read_text(encoding="utf-8"))[kind]
    return found


def _without_nothing(value: Any) -> Any:
    """Drop nulls: an absent field is how Kubernetes says it."""
    if isinstance(value, dict):
        return {key: _without_nothing(each) for key, each in value.items() if each is not None}
    if isinstance(value, list):
        return [_without_nothing(each) for each in value]
    return value


def _shortened(problems: Sequence[str]) -> tuple[str, ...]:
    unique = list(dict.fromkeys(problems))
    more = len(unique) - MOST_PROBLEMS
    return (*unique[:MOST_PROBLEMS], *([f"and {more} more"] if more > 0 else []))


class _Loader(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):  # type: ignore[misc]  # the C one where PyYAML has it
    """YAML as kubectl reads it: a date is text, and a key given twice is a mistake."""

    yaml_implicit_resolvers = {  # noqa: RUF012  PyYAML reads it from the class
        first: [(tag, pattern) for tag, pattern in each if tag != "tag:yaml.org,2002:timestamp"]
        for first, each in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:  # noqa: FBT001, FBT002  PyYAML's signature
        keys = [each.value for each, _ in node.value if isinstance(each, yaml.ScalarNode)]
        for twice in (key for key in keys if keys.count(key) > 1 and key != "<<"):
            raise yaml.constructor.ConstructorError(None, None, f"{twice!r} is given twice in one mapping", node.start_mark)
        mapping: dict[Any, Any] = super().construct_mapping(node, deep=deep)
        return mapping
