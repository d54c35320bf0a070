"""A certificate authority nobody else trusts, and what it signs for the stand-ins."""

from collections.abc import Sequence

from tests.e2e.cluster.certificates import Authority, Pair

HOSTS = ("hosted.hosted.svc", "hosted.hosted.svc.cluster.local", "hosted.hosted", "127.0.0.1", "localhost")


def make(hosts: Sequence[str] = HOSTS) -> tuple[Pair, Pair]:
    """Return the authority (its certificate is what a HostedProvider's caSecretRef holds) and a server's certificate for these hosts."""
    authority = Authority()
    return authority.pair, authority.issue(hosts[0], addresses=hosts)
