"""What lets us in to a Prometheus behind authentication. It is read from files when it is used: whoever renews it restarts nothing."""

import base64
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

TOKEN, USERNAME, PASSWORD = "token", "username", "password"  # keys of the Secret, and names of its files

_HEADER_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")  # RFC 9110, "token"
_HEADER_VALUE = re.compile(r"[\x21-\x7e]([\x20-\x7e]*[\x21-\x7e])?")
_TOKEN = re.compile(r"[\x21-\x7e]+")


class AccessError(Exception):
    """What should let us in cannot be used. The message says which and what next, and never has the secret in it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Named:
    """What the settings are called where the reader of a message makes them."""

    auth: str
    authority: str
    headers: str


CHART = Named(auth="prometheus.auth", authority="prometheus.ca", headers="prometheus.headers")


@dataclass(frozen=True, slots=True, kw_only=True)
class Access:
    """How to ask: the value of Authorization, made anew for each request; further headers; the only authority that TLS trusts."""

    named: Named = CHART
    authorization: Callable[[], str] | None = None
    ca_file: Path | None = None
    headers: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name, value in self.headers.items():
            if not _HEADER_NAME.fullmatch(name):
                raise AccessError(f"{name!r} is not a valid header name; use one such as X-Scope-OrgID")
            if name.lower() == "authorization":
                raise AccessError(f"{name} is set by {self.named.auth}; remove it from {self.named.headers}")
            if not _HEADER_VALUE.fullmatch(value):
                raise AccessError(f"the value of {name} is empty or has characters that headers cannot have; use plain ASCII")


OPEN = Access()  # to a Prometheus that anybody may ask


def folder_authorization(folder: Path) -> str:
    """Return the value of Authorization from a mounted Secret: its token, or its username and password."""
    found = {name: text for name in (TOKEN, USERNAME, PASSWORD) if (text := _text_of(folder / name, missing=""))}
    if set(found) == {TOKEN}:
        return bearer(found[TOKEN], where=f"{folder}/{TOKEN}")
    if set(found) == {USERNAME, PASSWORD}:
        return basic(found[USERNAME], found[PASSWORD], where=f"{folder}/{USERNAME}")
    if TOKEN in found:
        others = " and ".join(name for name in found if name != TOKEN)
        raise AccessError(f"{folder} has a token and {others}; remove one or the other from the Secret")
    raise AccessError(
        f"{folder} has neither a token nor both a username and a password; does the Secret of prometheus.auth.secret have these keys?"
    )


def bearer(token: str, *, where: str) -> str:
    """Return the value of Authorization for a token. One that a header cannot carry is refused here: others would quote it."""
    if not _TOKEN.fullmatch(token):
        raise AccessError(f"{where} is empty, or has spaces or characters that no token has; use the token alone, without 'Bearer'")
    return f"Bearer {token}"


def basic(username: str, password: str, *, where: str) -> str:
    """Return the value of Authorization for a name and a password."""
    if ":" in username:
        raise AccessError(f"{where} has a colon, which basic authentication does not allow; use the name alone")
    return f"Basic {base64.b64encode(f'{username}:{password}'.encode()).decode()}"


def secrets_of(authorization: str) -> tuple[str, ...]:
    """Return what of an Authorization's value nobody may read."""
    scheme, _, credential = authorization.partition(" ")
    if scheme != "Basic":
        return tuple(filter(None, (credential,)))
    password = base64.b64decode(credential).decode(errors="replace").partition(":")[2]
    return tuple(filter(None, (credential, password)))


def text_of(path: Path) -> str:
    """Return what a file says, without the line end that editors and `echo` leave behind."""
    return _text_of(path, missing=None)


def _text_of(path: Path, *, missing: str | None) -> str:
    try:
        return path.read_bytes().decode().strip()
    except FileNotFoundError as problem:
        if missing is not None:
            return missing
        raise AccessError(f"{path} cannot be read: {problem.strerror}; name a file that exists") from None
    except OSError as problem:
        raise AccessError(f"{path} cannot be read: {problem.strerror}; make it readable for this process") from None
    except UnicodeDecodeError:
        raise AccessError(f"{path} is not text; provide the credential as text") from None
