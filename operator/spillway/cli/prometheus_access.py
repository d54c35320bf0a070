"""What lets `--from-prometheus` in: options of the command line. Secrets come in files: an argument is seen by whoever lists processes."""

import argparse
from pathlib import Path

from spillway.cli.bad_input import BadInputError
from spillway.observe.access import Access, AccessError, Named, basic, bearer, text_of

_OPTIONS = Named(
    auth="--prometheus-token-file, or --prometheus-user and --prometheus-password-file",
    authority="--prometheus-ca-file",
    headers="--prometheus-header",
)


def read_access(parsed: argparse.Namespace) -> Access:
    """Return what the options say. Files are read once: one may be a pipe, as of `<(oc whoami -t)`."""
    headers: dict[str, str] = {}
    for given in parsed.prometheus_header:
        name, sign, value = given.partition("=")
        if not sign:
            raise BadInputError(f"--prometheus-header: {given!r} has no value; give NAME=VALUE, such as X-Scope-OrgID=team")
        headers[name] = value
    try:
        sent = _authorization(parsed)
        return Access(
            named=_OPTIONS,
            authorization=None if sent is None else lambda: sent,
            ca_file=None if parsed.prometheus_ca_file is None else Path(parsed.prometheus_ca_file),
            headers=headers,
        )
    except AccessError as problem:
        raise BadInputError(f"--from-prometheus: {problem}") from None


def _authorization(parsed: argparse.Namespace) -> str | None:
    token, user, password = parsed.prometheus_token_file, parsed.prometheus_user, parsed.prometheus_password_file
    if (user is None) != (password is None):
        raise BadInputError("--prometheus-user and --prometheus-password-file belong together; give both")
    if token is not None and user is not None:
        raise BadInputError("--prometheus-token-file and --prometheus-user: Prometheus takes one credential; give one of them")
    if token is not None:
        return bearer(text_of(Path(token)), where=token)
    return None if user is None else basic(user, text_of(Path(password)), where="--prometheus-user")
