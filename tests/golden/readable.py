"""YAML as a person would write it, so that what changed in a golden file can be read."""

import yaml


class _Readable(yaml.CSafeDumper):
    """Scripts as blocks and nothing by reference."""

    def ignore_aliases(self, data: object) -> bool:  # noqa: ARG002  (the signature is PyYAML's)
        return True


def _text(dumper: _Readable, text: str) -> yaml.ScalarNode:
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style="|" if "\n" in text else None)


_Readable.add_representer(str, _text)


def readable(value: object, *, width: int) -> str:
    """Return a value as YAML."""
    return str(yaml.dump(value, Dumper=_Readable, sort_keys=False, width=width, allow_unicode=True))
