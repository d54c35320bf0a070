"""What is measured with: an engine's limits as it was started, what its clients expect, and the traffic that suits it."""

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from spillway.simulate.setting import HostedModel, Targets


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Limits of the engine and of the gateway before it."""

    max_num_seqs: int
    slots: int  # the gateway's cap: requests that run and that wait
    max_queued_requests: int  # the engine's own limit, which the cap stays below
    step_tokens: int
    targets: Targets
    hosted: HostedModel


def restored_hosted(written: Mapping[str, Any]) -> HostedModel:
    """Return a distribution that was written as JSON, which has lists for tuples."""
    return HostedModel(**{**written, "inter_token_ms": tuple(written["inter_token_ms"])})


@dataclass(frozen=True, slots=True, kw_only=True)
class Engine:
    """A running engine."""

    url: str
    pid: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Lab:
    """A place to measure in."""

    name: str
    limits: Limits
    lone: tuple[tuple[int, int], ...]  # prompt and answer tokens of the requests that are asked one after another
    input_tokens: tuple[int, int]  # of the traffic: the least and the most
    output_tokens: tuple[int, int]
    token_ids: tuple[int, int]  # prompts are drawn from these: the first and the last
    start: Callable[[Path], AbstractContextManager[Engine]]  # runs the engine, with a folder of its own; gives it once it serves
    planned_requests_per_s: float | None = None  # what the plan promises of a replica by itself; None: nothing is planned for it
