"""Who may call a workload's URL, and how: `gateway.access` and `gateway.tls`. docs/access.md tells what each does."""
# ruff: noqa: RUF012 - pydantic copies a default; ruff sees only that the base class is not its own

from enum import StrEnum
from typing import Annotated

from pydantic import Field

from spillway.api.base import ApiModel, NamedRef

RequestsPerMinute = Annotated[int, Field(ge=1, le=10_000_000)]
TokensPerMinute = Annotated[int, Field(ge=1, le=100_000_000_000)]


class Callers(StrEnum):
    """Whom the network lets through to the gateway."""

    NAMESPACE = "Namespace"
    ANYONE = "Anyone"


class ClientLimit(ApiModel):
    """Limits of one client, instead of the general ones."""

    name: Annotated[str, Field(min_length=1, max_length=255, description="The client, as the Secret or the token names it.")]
    requests_per_minute: Annotated[
        RequestsPerMinute | None, Field(description="Requests per minute of this client, instead of the general limit.")
    ] = None
    tokens_per_minute: Annotated[
        TokensPerMinute | None, Field(description="Tokens per minute of this client, instead of the general limit.")
    ] = None


class ConfigMapKeyRef(ApiModel):
    """One key of a ConfigMap in the same namespace."""

    name: Annotated[str, Field(min_length=1, max_length=253, description="Name of the ConfigMap, in the same namespace.")]
    key: Annotated[str, Field(min_length=1, max_length=253, pattern=r"^[-._a-zA-Z0-9]+$", description="Key in the ConfigMap's data.")]


class Jwt(ApiModel):
    """Tokens of an identity provider."""

    issuer: Annotated[str, Field(min_length=1, max_length=512, description="Required `iss` of tokens.")]
    audiences: Annotated[
        list[Annotated[str, Field(min_length=1, max_length=512)]],
        Field(min_length=1, max_length=16, description="One of these must be in `aud`; other tokens are refused."),
    ]
    jwks_uri: Annotated[
        str | None,
        Field(alias="jwksURI", max_length=1024, description="Where the issuer publishes its keys, https. Fetched every five minutes."),
    ] = None
    jwks_config_map_ref: Annotated[
        ConfigMapKeyRef | None,
        Field(description="ConfigMap key with the issuer's keys (a JWKS), instead of jwksURI. Reloaded when it changes."),
    ] = None


class Access(ApiModel):
    """Who may call."""

    keys_secret_ref: Annotated[
        NamedRef | None,
        Field(
            description="Secret whose entry `clients` has a line `client: key` for each client; requests must carry one of these keys "
            "(Authorization: Bearer). Reloaded when it changes; while it is missing, no client may call. Spillway itself never reads it."
        ),
    ] = None
    jwt: Annotated[
        Jwt | None,
        Field(description="Requests must carry a token of this issuer (Authorization: Bearer), instead of a key. The client is its `sub`."),
    ] = None
    requests_per_minute: Annotated[
        RequestsPerMinute | None,
        Field(description="Requests per minute of each client, split evenly over the gateway's pods. Default: no limit."),
    ] = None
    tokens_per_minute: Annotated[
        TokensPerMinute | None,
        Field(
            description="Tokens per minute of each client, of prompts and answers, split evenly over the gateway's pods and their two "
            "threads. Requests are refused once they are used up; an answer's excess is taken from later minutes. Default: no limit."
        ),
    ] = None
    clients: Annotated[list[ClientLimit], Field(max_length=256, description="Clients with their own limit.")] = []
    callers: Annotated[
        Callers | None,
        Field(
            description="Who may call, by NetworkPolicy: Namespace (pods of the workload's namespace) or Anyone. Default: Anyone with "
            "keys or tokens, else Namespace. Anyone without them is an open gateway; the condition AccessControlled says so."
        ),
    ] = None

    @property
    def authenticates(self) -> bool:
        """Whether a request must show who sends it."""
        return self.keys_secret_ref is not None or self.jwt is not None

    @property
    def limits_requests(self) -> bool:
        """Whether any client's requests are limited."""
        return self.requests_per_minute is not None or any(each.requests_per_minute is not None for each in self.clients)

    @property
    def limits_tokens(self) -> bool:
        """Whether any client's tokens are limited."""
        return self.tokens_per_minute is not None or any(each.tokens_per_minute is not None for each in self.clients)

    @property
    def admits(self) -> Callers:
        """Whom the network lets through."""
        return self.callers or (Callers.ANYONE if self.authenticates else Callers.NAMESPACE)


class GatewayTls(ApiModel):
    """The certificate of the URL."""

    secret_ref: Annotated[NamedRef, Field(description="Secret of type kubernetes.io/tls. Reloaded when it changes, without a restart.")]
