"""The client of Prometheus, and in a sentence why it was not let in."""

import ssl
from collections.abc import Callable, Iterator
from http import HTTPStatus
from pathlib import Path

import requests
from prometheus_api_client import PrometheusConnect
from prometheus_api_client.exceptions import PrometheusApiClientException
from requests.auth import AuthBase
from urllib3.util.retry import Retry

from spillway.observe.access import Access, AccessError, secrets_of

MOST_CHARACTERS = 200  # of an answer's own words
# Some 90,000 series, which take 125 MiB of memory to read. The longest answer about 2,000 workloads has 13 MB.
MOST_BYTES = 16 * 1024**2
_PIECE_BYTES = 64 * 1024
# OpenSSL's X509_V_ERR_…: NOT_YET_VALID and HAS_EXPIRED; HOSTNAME_MISMATCH and IP_ADDRESS_MISMATCH.
_OUT_OF_DATE = {9, 10}
_OTHER_HOST = {62, 64}
_PHRASES = {each.value: each.phrase for each in HTTPStatus}


class RefusedError(Exception):
    """Prometheus, or who stands before it, answered with something else than 200."""

    def __init__(self, status: int, words: str) -> None:
        self.status = status
        super().__init__(f"{status} {_PHRASES.get(status, '')}".rstrip() + (f', "{words}"' if words else ""))


class TooMuchError(Exception):
    """An answer has more in it than anybody's pods tell who mean well: it is not read to its end."""

    def __init__(self, what: str) -> None:
        super().__init__(f"it {what}")


# What can go wrong on the way to an answer, the shape of the answer included.
TROUBLE = (
    requests.RequestException,
    PrometheusApiClientException,
    RefusedError,
    TooMuchError,
    AccessError,
    OSError,
    ValueError,
    LookupError,
    TypeError,
)


def connect(url: str, access: Access, *, timeout_s: float) -> PrometheusConnect:
    """Return a client that asks once: who asks again is the caller. Its credential and its authority are read at each request."""
    session = requests.Session()
    session.verify = True if access.ca_file is None else str(access.ca_file)
    session.hooks["response"].extend((_read, _refuse))
    return PrometheusConnect(
        url=url.rstrip("/"),
        headers=dict(access.headers) or None,
        auth=None if access.authorization is None else _Authorization(access.authorization),
        session=session,
        retry=Retry(total=0),
        timeout=timeout_s,
        method="POST",
    )


def why_not_let_in(problem: BaseException, access: Access) -> str | None:
    """Return what is wrong with credential, tenant, authority or URL, and what to do; None where it is something else."""
    if isinstance(problem, AccessError):
        return str(problem)
    if isinstance(problem, RefusedError):
        return _refusal(problem, access)
    if isinstance(problem, requests.JSONDecodeError):
        found = "it answered with something other than JSON, such as a login page"
        return f"{found}; set the URL of Prometheus itself, and a credential with {access.named.auth}"
    if isinstance(problem, requests.exceptions.SSLError) or not isinstance(problem, requests.RequestException):
        return _untrusted(problem, access)
    return None


class _Authorization(AuthBase):
    """Puts the credential in, as it is now."""

    def __init__(self, value: Callable[[], str]) -> None:
        self._value = value

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        request.headers["Authorization"] = self._value()
        return request


def _read(response: requests.Response, **_: object) -> None:
    """Read the answer as the client would next, but not without end: what pods tell of themselves is theirs to say."""
    found = bytearray()
    for piece in response.iter_content(_PIECE_BYTES):
        found += piece
        if len(found) > MOST_BYTES:
            response.close()
            raise TooMuchError(f"answered a query with more than {MOST_BYTES // 1024**2} MiB")
    response._content = bytes(found)  # noqa: SLF001  where it looks for what it has read


def _refuse(response: requests.Response, **_: object) -> None:
    """Raise what the client would, without the secret: who refuses a request may quote it."""
    if response.status_code == HTTPStatus.OK or response.is_redirect:
        return
    words = " ".join(response.content.decode(errors="replace").split())
    for secret in secrets_of(str(response.request.headers.get("Authorization", ""))):
        words = words.replace(secret, "…")
    raise RefusedError(response.status_code, "" if "<" in words else words[:MOST_CHARACTERS])  # of a page, nobody wants to read the source


def _refusal(problem: RefusedError, access: Access) -> str | None:
    named = access.named
    match problem.status:
        case HTTPStatus.UNAUTHORIZED | HTTPStatus.FORBIDDEN if access.authorization is None:
            return f"it answered {problem}; set a credential with {named.auth}, or the tenant with {named.headers}"
        case HTTPStatus.UNAUTHORIZED:
            return f"it answered {problem} to the credential of {named.auth}; renew it, or set the tenant with {named.headers}"
        case HTTPStatus.FORBIDDEN:
            return f"it answered {problem} to the credential of {named.auth}; grant it query access, or set another"
        case HTTPStatus.NOT_FOUND:
            return f"it answered {problem}; set the URL of Prometheus itself"
    return None


def _untrusted(problem: BaseException, access: Access) -> str | None:
    """Return what is wrong with the authority we have, or with the certificate that was shown."""
    if access.ca_file is not None and (trouble := _unusable(access.ca_file)) is not None:
        return f"{trouble}; set it with {access.named.authority}"
    failure = next((each for each in _causes(problem) if isinstance(each, ssl.SSLError)), None)
    if not isinstance(failure, ssl.SSLCertVerificationError):
        return None if failure is None else f"TLS fails ({failure.reason or failure.strerror}); does it serve HTTPS on this port?"
    told = failure.verify_message
    if failure.verify_code in _OTHER_HOST:
        return f"its certificate is for another host: {told.rstrip('.')}; use a host name from its certificate"
    if failure.verify_code in _OUT_OF_DATE:
        return f"its certificate is not valid now: {told}; renew it"
    return f"its certificate is not trusted: {told}; set its CA certificate with {access.named.authority}"


def _unusable(ca_file: Path) -> str | None:
    try:
        ssl.create_default_context(cafile=ca_file)
    except ssl.SSLError:
        return f"{ca_file} has no PEM certificate"
    except OSError as problem:
        return f"CA certificate {ca_file} cannot be read: {problem.strerror}"
    return None


def _causes(problem: BaseException) -> Iterator[BaseException]:
    """Yield the exception and all that it wraps: requests has urllib3's as an argument, which has the reason as a field."""
    waiting, seen = [problem], set()
    while waiting:
        each = waiting.pop(0)
        if id(each) in seen:
            continue
        seen.add(id(each))
        yield each
        wrapped = (*each.args, getattr(each, "reason", None), each.__cause__, each.__context__)
        waiting.extend(found for found in wrapped if isinstance(found, BaseException))
