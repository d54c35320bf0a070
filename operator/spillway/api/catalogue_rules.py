"""The rules of what can be rented, and of what can be owned."""

from spillway.api.rule import DECIMAL, NAME_LIMIT, PORT, Rule


def _not_above(name: str, *, model: str, field: str, bound: str, message: str) -> Rule:
    """Return the rule that a price is no higher than another one. What is no decimal, the schema refuses already."""
    return Rule(
        name=name,
        model=model,
        rule=f"!has(self.{field}) || !self.{field}.{DECIMAL} || !self.{bound}.{DECIMAL} || double(self.{field}) <= double(self.{bound})",
        message=message,
        at=f".{field}",
    )


PROVIDER_RULES = (
    Rule(
        name="provider-name",
        model="HostedProvider",
        rule=f"size(self.metadata.name) <= {NAME_LIMIT} && self.metadata.name.matches('^[a-z]([-a-z0-9]*[a-z0-9])?$')",
        message=f"metadata.name becomes part of volume and Envoy cluster names: use at most {NAME_LIMIT} characters, a letter first, "
        "then "
        "lower-case letters, digits and -",
    ),
    Rule(
        name="provider-https",
        model="HostedProviderSpec",
        rule="self.baseURL.startsWith('https://')",
        message="baseURL must start with https://, otherwise prompts and the API key would be sent unencrypted",
        at=".baseURL",
    ),
    Rule(
        name="provider-port",
        model="HostedProviderSpec",
        rule=f"self.baseURL.matches('^[a-z]+://([^/:]*|[[][^/]*[]])(:{PORT})?(/.*)?$')",
        message="the port in baseURL must be from 1 to 65535; omit it for 443",
        at=".baseURL",
    ),
    Rule(
        name="provider-base-url",
        model="HostedProviderSpec",
        rule="!self.baseURL.endsWith('/completions') && !self.baseURL.endsWith('/completions/')",
        message="baseURL must end with the API version, such as https://api.example.com/v1: remove /completions or /chat/completions",
        at=".baseURL",
    ),
    Rule(
        name="provider-limits-empty",
        model="ProviderLimits",
        rule="has(self.requestsPerMinute) || has(self.tokensPerMinute)",
        message="limits needs requestsPerMinute or tokensPerMinute; remove it if the account has none",
        reason="FieldValueRequired",
    ),
    _not_above(
        "cached-input-price",
        model="ProviderModel",
        field="cachedInputUSDPerMillionTokens",
        bound="inputUSDPerMillionTokens",
        message="cachedInputUSDPerMillionTokens cannot exceed inputUSDPerMillionTokens; omit it if cached tokens cost the same",
    ),
)


ACCELERATOR_RULES = (
    _not_above(
        "reserved-price",
        model="AcceleratorPrice",
        field="reservedUSDPerHour",
        bound="onDemandUSDPerHour",
        message="reservedUSDPerHour cannot exceed onDemandUSDPerHour: set the price of one committed hour, for the same machine",
    ),
    _not_above(
        "spot-price",
        model="AcceleratorPrice",
        field="spotUSDPerHour",
        bound="onDemandUSDPerHour",
        message="spotUSDPerHour cannot exceed onDemandUSDPerHour: set both for the same machine, or omit spotUSDPerHour",
    ),
    Rule(
        name="accelerator-resource",
        model="AcceleratorClassSpec",
        rule="self.resourceName.contains('/') && !self.resourceName.startsWith('kubernetes.io/') "
        "&& !self.resourceName.startsWith('requests.')",
        message="resourceName must be what the device plugin advertises on the node, such as nvidia.com/gpu or nvidia.com/mig-3g.40gb",
        at=".resourceName",
    ),
)
