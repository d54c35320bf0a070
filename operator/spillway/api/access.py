"""Who may call a workload's URL, and how: `gateway.access` and `gateway.tls`. docs/access.md tells what each does."""
# ruff: noqa: RUF012 - pydantic copies a default; ruff sees only that the base class is not its own

from enum import StrEnum
from typing import Annotated

from pydantic import Field

from spillway.api.base import ApiModel, NamedRef

CLIENT_PATTERN = r"^[A-Za-z0-9][A-Za-z0-9._-]*$"
RequestsPerMinute = Annotated[int, Field(ge=1, le=10_000_000)]


class Callers(StrEnum):
    """Whom the network lets through to the gateway."""

    NAMESPACE = "Namespace"
    ANYONE = "Anyone"


class ClientLimit(ApiModel):
    """What one client may do that others may not, or the other way round."""

    name: Annotated[str, Field(min_length=1, max_length=63, pattern=CLIENT_PATTERN, description="The client, as the Secret names it.")]
    requests_per_minute: Annotated[
        RequestsPerMinute, Field(description="Requests per minute of this client, instead of the general limit.")
    ]


class Access(ApiModel):
    """Who may call."""

    keys_secret_ref: Annotated[
        NamedRef | None,
        Field(
            description="Secret whose entry `clients` has a line `client: key` for each client; requests must show one of these keys "
            "(Authorization: Bearer). Followed when it changes; while it is not there nobody may call. Spillway itself never reads it."
        ),
    ] = None
    requests_per_minute: Annotated[
        RequestsPerMinute | None,
        Field(description="Requests per minute of each client, in equal parts over the gateway's pods. Default: no limit."),
    ] = None
    clients: Annotated[list[ClientLimit], Field(max_length=256, description="Clients whose limit is another one.")] = []
    callers: Annotated[
        Callers | None,
        Field(
            description="Whom the NetworkPolicy lets through: Namespace (pods of the workload's namespace) or Anyone. Default: Anyone with "
            "keys, else Namespace. Anyone without keys is an open gateway; the condition AccessControlled says so."
        ),
    ] = None

    @property
    def authenticates(self) -> bool:
        """Whether a request must show who sends it."""
        return self.keys_secret_ref is not None

    @property
    def limits(self) -> bool:
        """Whether any client's rate is limited."""
        return self.requests_per_minute is not None or bool(self.clients)

    @property
    def admits(self) -> Callers:
        """Whom the network lets through."""
        return self.callers or (Callers.ANYONE if self.authenticates else Callers.NAMESPACE)


class GatewayTls(ApiModel):
    """The certificate of the URL."""

    secret_ref: Annotated[NamedRef, Field(description="Secret of type kubernetes.io/tls. Followed when it changes, without a restart.")]
