"""A Prometheus behind authentication: what it is sent, whom TLS trusts, and what is told when it lets nobody in. The servers are real."""

import base64
import logging
import ssl
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path

import pytest

from spillway.api.vocabulary import Reason
from spillway.observe.access import Access, AccessError, folder_authorization
from spillway.observe.history import HistoryError, prometheus_at, read_history
from spillway.observe.prometheus import PrometheusSource
from spillway.observe.signals import Target
from spillway.plan.decision import Key
from spillway.plan.observation import Missing
from tests.dataplane.certificates import Authority, authority, server
from tests.servers import Answer, Request, serving

KEY = Key(namespace="ns", name="x")
EMPTY = (200, {"status": "success", "data": {"resultType": "vector", "result": []}})
Headers = dict[str, str]


class Asked:
    """Answers with nothing scraped, to who sends the token that is asked for; keeps what it was sent."""

    def __init__(self, wanted: str | None = None) -> None:
        self.wanted = wanted
        self.sent: list[Headers] = []

    def __call__(self, request: Request) -> Answer:
        self.sent.append(request.headers)
        return EMPTY if self.wanted in {None, request.headers.get("authorization")} else (401, "Unauthorized\n")


async def detail(source: PrometheusSource) -> str:
    """Ask once; return what is told of it, "" where there was an answer."""
    found = (await source.read({KEY: Target(gateways=1)}, {}, datetime.now(UTC)))[KEY].arrivals_per_s
    assert isinstance(found, Missing)
    return found.detail if found.reason is Reason.PROMETHEUS_ERROR else ""


@pytest.fixture
def ask() -> Iterator[Callable[[str, Access], PrometheusSource]]:
    """Return what makes sources, and closes them in the end."""
    made: list[PrometheusSource] = []

    def source(url: str, access: Access) -> PrometheusSource:
        made.append(PrometheusSource.at(url, access, window_s=60, timeout_s=10))
        return made[-1]

    yield source
    for each in made:
        each.close()


Ask = Callable[[str, Access], PrometheusSource]


def secret(folder: Path, **keys: str) -> Access:
    """Write the files of a mounted Secret, and return how to ask with it."""
    folder.mkdir(exist_ok=True)
    for each in folder.iterdir():
        each.unlink()
    for name, text in keys.items():
        (folder / name).write_text(text)
    return Access(authorization=partial(folder_authorization, folder))


async def test_headers_and_token_are_sent_with_every_query(tmp_path: Path, ask: Ask) -> None:
    asked = Asked("Bearer one")
    access = Access(authorization=secret(tmp_path / "auth", token="one\n").authorization, headers={"X-Scope-OrgID": "team"})
    with serving(asked) as url:
        assert await detail(ask(url, access)) == ""
    assert len(asked.sent) > 1
    assert all((each["authorization"], each["x-scope-orgid"]) == ("Bearer one", "team") for each in asked.sent)


async def test_a_renewed_token_is_sent_by_the_next_query(tmp_path: Path, ask: Ask) -> None:
    asked = Asked("Bearer one")
    with serving(asked) as url:
        source = ask(url, secret(tmp_path / "auth", token="one"))
        assert await detail(source) == ""
        asked.wanted = "Bearer two"
        assert "401" in await detail(source)
        secret(tmp_path / "auth", token="two")
        assert await detail(source) == ""
        asked.wanted = "Basic " + base64.b64encode(b"42:pass:word").decode()
        secret(tmp_path / "auth", username="42\n", password="pass:word\n")
        assert await detail(source) == ""


async def test_a_netrc_or_a_url_does_not_put_in_another_credential(tmp_path: Path, ask: Ask, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "netrc").write_text("machine localhost login a password b\n")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    with serving(Asked("Bearer one")) as url:
        assert await detail(ask(url.replace("//", "//a:b@"), secret(tmp_path / "auth", token="one"))) == ""


async def test_a_redirect_takes_the_credential_to_nobody_else(tmp_path: Path, ask: Ask) -> None:
    asked = Asked()
    with serving(asked) as elsewhere, serving(lambda _: (302, elsewhere.replace("localhost", "127.0.0.1"))) as url:
        await detail(ask(url, secret(tmp_path / "auth", token="one")))
    assert asked.sent
    assert not any("authorization" in each for each in asked.sent)


@pytest.mark.parametrize(
    ("keys", "told"),
    [
        ({}, "has neither a token nor both a username and a password; does the Secret of prometheus.auth.secret have these keys"),
        ({"username": "me"}, "has neither a token nor both a username and a password"),
        ({"token": "\n"}, "has neither a token nor both a username and a password"),
        (
            {"token": "sesame", "username": "me", "password": "sesame"},
            "has a token and username and password; remove one or the other",
        ),
        ({"token": "Bearer sesame"}, "use the token alone, without 'Bearer'"),
        ({"token": "sesame\nsesame"}, "has spaces or characters that no token has"),
        ({"token": "sésame"}, "has spaces or characters that no token has"),
        ({"username": "a:b", "password": "sesame"}, "has a colon"),
    ],
    ids=["no Secret", "half a login", "an empty token", "both", "a scheme before it", "two lines", "an accent", "a colon in the name"],
)
async def test_a_secret_that_cannot_be_used_is_told_and_not_shown(tmp_path: Path, ask: Ask, keys: dict[str, str], told: str) -> None:
    asked = Asked()
    with serving(asked) as url:
        found = await detail(ask(url, secret(tmp_path / "auth", **keys)))
    assert told in found
    assert "sesame" not in found
    assert not asked.sent


async def test_a_file_that_is_no_text_is_told(tmp_path: Path, ask: Ask) -> None:
    access = secret(tmp_path / "auth", token="")
    (tmp_path / "auth" / "token").write_bytes(b"\xff\xfe")
    with serving(Asked()) as url:
        assert "token is not text" in await detail(ask(url, access))


@pytest.mark.parametrize(
    ("answer", "keys", "told"),
    [
        ((401, "no org id"), {}, 'it answered 401 Unauthorized, "no org id"; set a credential with prometheus.auth, or the tenant with'),
        ((403, "<html>" * 99), {}, "it answered 403 Forbidden; set a credential with prometheus.auth"),
        ((401, ""), {"token": "sesame"}, "it answered 401 Unauthorized to the credential of prometheus.auth; renew it"),
        (
            (403, "cannot get namespaces"),
            {"token": "sesame"},
            '403 Forbidden, "cannot get namespaces" to the credential of prometheus.auth; grant',
        ),
        ((404, "page not found"), {"token": "sesame"}, 'it answered 404 Not Found, "page not found"; set the URL of Prometheus itself'),
        ((503, "busy"), {"token": "sesame"}, 'it answered 503 Service Unavailable, "busy"'),
        ((499, "gone"), {"token": "sesame"}, 'it answered 499, "gone"'),
        ((200, "<html>log in"), {"token": "sesame"}, "something other than JSON, such as a login page"),
    ],
    ids=["a tenant is missing", "a page", "refused", "not permitted", "another's URL", "busy", "a number of its own", "a login page"],
)
async def test_a_refusal_says_what_next(tmp_path: Path, ask: Ask, answer: Answer, keys: dict[str, str], told: str) -> None:
    access = secret(tmp_path / "auth", **keys) if keys else Access()
    with serving(lambda _: answer) as url:
        assert told in await detail(ask(url, access))


@pytest.mark.parametrize("keys", [{"token": "sesame"}, {"username": "me", "password": "sesame"}], ids=["token", "password"])
async def test_who_quotes_the_secret_brings_it_neither_to_the_status_nor_to_a_log(
    tmp_path: Path, ask: Ask, keys: dict[str, str], caplog: pytest.LogCaptureFixture
) -> None:
    def quoting(request: Request) -> Answer:
        sent = request.headers["authorization"]
        scheme, _, credential = sent.partition(" ")
        plain = credential if scheme == "Bearer" else base64.b64decode(credential).decode()
        return 401, f"refused: {sent} ({plain})"

    caplog.set_level(logging.DEBUG)
    with serving(quoting) as url:
        found = await detail(ask(url, secret(tmp_path / "auth", **keys)))
    assert "refused: B" in found
    for secret_part in ("sesame", base64.b64encode(b"me:sesame").decode()):
        assert secret_part not in found
        assert secret_part not in caplog.text


@pytest.fixture(scope="module")
def trusted() -> Authority:
    """Return the authority that signs the server's certificate."""
    return authority()


@pytest.fixture(scope="module")
def context(trusted: Authority, tmp_path_factory: pytest.TempPathFactory) -> ssl.SSLContext:
    """Return the server's side of TLS, by the name localhost."""
    return server(*trusted.issue("localhost", tmp_path_factory.mktemp("pki")))


async def test_a_private_authority_and_a_token_let_in(tmp_path: Path, ask: Ask, trusted: Authority, context: ssl.SSLContext) -> None:
    (tmp_path / "ca.crt").write_text(trusted.pem)
    authorization = secret(tmp_path / "auth", token="one").authorization
    with serving(Asked("Bearer one"), context) as url:
        assert await detail(ask(url, Access(authorization=authorization, ca_file=tmp_path / "ca.crt"))) == ""
        assert "401" in await detail(ask(url, Access(ca_file=tmp_path / "ca.crt")))
        untrusting = await detail(ask(url, Access(authorization=authorization)))
    assert untrusting.startswith("its certificate is not trusted: ")
    assert untrusting.endswith("; set its CA certificate with prometheus.ca")


async def test_a_renewed_authority_is_trusted_by_the_next_query(
    tmp_path: Path, ask: Ask, trusted: Authority, context: ssl.SSLContext
) -> None:
    (tmp_path / "ca.crt").write_text(authority("the last one").pem)
    with serving(Asked(), context) as url:
        source = ask(url, Access(ca_file=tmp_path / "ca.crt"))
        assert "its certificate is not trusted" in await detail(source)
        (tmp_path / "ca.crt").write_text(trusted.pem)
        assert await detail(source) == ""
        (tmp_path / "ca.crt").write_text(authority("the next one").pem)
        assert "its certificate is not trusted" in await detail(source)


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (None, "cannot be read: No such file or directory; set it with prometheus.ca"),
        ("sesame", "has no PEM certificate; set it with"),
    ],
    ids=["no file", "no certificate"],
)
async def test_an_authority_that_cannot_be_read_is_told(
    tmp_path: Path, ask: Ask, context: ssl.SSLContext, content: str | None, told: str
) -> None:
    if content is not None:
        (tmp_path / "ca.crt").write_text(content)
    with serving(Asked(), context) as url:
        assert told in await detail(ask(url, Access(ca_file=tmp_path / "ca.crt")))


async def test_a_certificate_of_another_name_is_told(tmp_path: Path, ask: Ask, trusted: Authority, context: ssl.SSLContext) -> None:
    (tmp_path / "ca.crt").write_text(trusted.pem)
    with serving(Asked(), context) as url:
        told = await detail(ask(url.replace("localhost", "127.0.0.1"), Access(ca_file=tmp_path / "ca.crt")))
    assert told.startswith("its certificate is for another host: ")
    assert "127.0.0.1" in told


async def test_a_server_without_tls_is_told(ask: Ask) -> None:
    with serving(Asked()) as url:
        assert "does it serve HTTPS on this port?" in await detail(ask(url.replace("http", "https"), Access()))


def test_a_history_is_asked_for_in_the_same_way(tmp_path: Path, trusted: Authority, context: ssl.SSLContext) -> None:
    (tmp_path / "ca.crt").write_text(trusted.pem)
    asked = Asked("Bearer one")

    def read(access: Access, url: str) -> None:
        since = timedelta(minutes=2)
        read_history(prometheus_at(url, access), access, namespace="a", workload="b", since=since, now=datetime.now(UTC))

    let_in = secret(tmp_path / "auth", token="one")
    with serving(asked, context) as url:
        read(Access(authorization=let_in.authorization, ca_file=tmp_path / "ca.crt", headers={"X-Scope-OrgID": "team"}), url)
        with pytest.raises(HistoryError, match="401 Unauthorized"):
            read(Access(ca_file=tmp_path / "ca.crt"), url)
        with pytest.raises(HistoryError, match="its certificate is not trusted"):
            read(let_in, url)
    assert asked.sent[0]["x-scope-orgid"] == "team"


@pytest.mark.parametrize(
    ("headers", "told"),
    [
        ({"X Scope": "a"}, "'X Scope' is not a valid header name"),
        ({"authorization": "Bearer sesame"}, "authorization is set by prometheus.auth;"),
        ({"X-Scope-OrgID": "sesame\r\nHost: x"}, "the value of X-Scope-OrgID is empty or has characters"),
        ({"X-Scope-OrgID": ""}, "the value of X-Scope-OrgID is empty"),
    ],
)
def test_what_is_no_header_is_told_without_its_value(headers: Headers, told: str) -> None:
    with pytest.raises(AccessError) as caught:
        Access(headers=headers)
    assert told in str(caught.value)
    assert "sesame" not in str(caught.value)
