"""An identity provider in miniature: keys, the JWKS that says which they are, and tokens signed with them."""

import base64
import json
import time
from dataclasses import dataclass, field
from typing import Any

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature

ISSUER = "https://id.test/"
AUDIENCE = "chat"


@dataclass(frozen=True, slots=True, kw_only=True)
class SigningKey:
    """An ES256 key (RFC 7518)."""

    name: str
    key: ec.EllipticCurvePrivateKey = field(default_factory=lambda: ec.generate_private_key(ec.SECP256R1()))

    @property
    def jwk(self) -> dict[str, str]:
        """The public half."""
        numbers = self.key.public_key().public_numbers()
        point = {name: _text(number.to_bytes(32, "big")) for name, number in (("x", numbers.x), ("y", numbers.y))}
        return {"kty": "EC", "crv": "P-256", "alg": "ES256", "use": "sig", "kid": self.name, **point}

    def token(self, *, algorithm: str = "ES256", without: str | None = None, **claims: Any) -> str:
        """Return a token that is good for an hour, with these claims and `without` that one."""
        now = int(time.time())
        said = {"iss": ISSUER, "aud": AUDIENCE, "sub": "user@example.com", "iat": now, "exp": now + 3600, **claims}
        said.pop(without or "", None)
        head = {"alg": algorithm, "typ": "JWT", "kid": self.name}
        signed = ".".join(_text(json.dumps(each).encode()) for each in (head, said))
        r, s = decode_dss_signature(self.key.sign(signed.encode(), ec.ECDSA(hashes.SHA256())))
        signature = "" if algorithm == "none" else _text(r.to_bytes(32, "big") + s.to_bytes(32, "big"))
        return f"{signed}.{signature}"


def jwks(*keys: SigningKey) -> str:
    """Return what an issuer publishes."""
    return json.dumps({"keys": [each.jwk for each in keys]})


def _text(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()
