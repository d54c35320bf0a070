"""A rendered object as it is sent: encoded once, for its fingerprint and for the request alike."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

_encode = json.JSONEncoder(separators=(",", ":")).encode


@dataclass(frozen=True, slots=True, kw_only=True)
class Encoded:
    """An object as JSON in two parts, because only its metadata differ between what is rendered and what is sent."""

    metadata: str
    rest: str
    digest: str  # the fingerprint of what was rendered

    def body(self, precondition: Mapping[str, str]) -> bytes:
        """Return the object with further, different members in its metadata."""
        metadata = self.metadata if not precondition else f"{_encode(dict(precondition))[:-1]},{self.metadata[1:]}"
        return f'{{"metadata":{metadata},{self.rest[1:]}'.encode()


def encode(obj: Mapping[str, Any]) -> Encoded:
    """Encode a rendered object. It has a name in its metadata, and a kind beside them."""
    metadata = _encode(obj["metadata"])
    rest = _encode({name: value for name, value in obj.items() if name != "metadata"})
    digest = hashlib.blake2b(f"{metadata}{rest}".encode(), digest_size=16).hexdigest()
    return Encoded(metadata=metadata, rest=rest, digest=digest)
