"""Who of the operator's pods acts: a Lease, renewed by one, watched by the others.

The state machine is a function of what is read and when; the loop around it only asks, waits and writes. Time is this process's
monotonic clock: another pod's clock is never trusted, only whether its record still changes.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from spillway.apply.applier import NotLeadingError
from spillway.apply.connection import CONFLICT, NOT_FOUND, ApiError, Connection, path

logger = logging.getLogger(__name__)

# Share of the Lease's duration after which a leader that could not renew stops writing; the rest is for requests on their way.
SURE_SHARE = 2 / 3
# Shares of the duration: between renewals, and for one attempt. Several attempts fit in before the leader has to stop.
PAUSE_SHARE, ATTEMPT_SHARE = 1 / 8, 1 / 4
RETRY_S = 0.5
POLL_S = 1.0
REFUSED = (401, 403)


@dataclass(slots=True)
class Election:
    """What one process knows of the Lease."""

    identity: str
    duration_s: float
    _record: tuple[str, str] | None = None  # holder and renew time last seen
    _record_since: float = 0.0
    _held_until: float = float("-inf")

    def observe(self, spec: Mapping[str, Any], now: float) -> None:
        """Take in the Lease as read."""
        record = (spec.get("holderIdentity") or "", str(spec.get("renewTime")))
        if record != self._record:
            self._record, self._record_since = record, now

    def may_take(self, spec: Mapping[str, Any], now: float) -> bool:
        """Whether the Lease is ours already, released, or its holder has not renewed for as long as it promised."""
        holder = spec.get("holderIdentity") or ""
        if holder in ("", self.identity):
            return True
        promised = float(spec.get("leaseDurationSeconds") or self.duration_s)
        return now - self._record_since > promised

    def renewed(self, asked_at: float) -> None:
        """Note that a write of ours, sent at this moment, was accepted."""
        self._held_until = asked_at + self.duration_s * SURE_SHARE

    def lost(self) -> None:
        """Note that it is not ours."""
        self._held_until = float("-inf")

    def holds(self, now: float) -> bool:
        """Whether this process may write: long enough before anybody else may think the Lease is free."""
        return now < self._held_until


class Lease:
    """The Lease in the cluster. `fence` goes into every writer. `clock` is a monotonic one."""

    def __init__(
        self,
        connection: Connection,
        *,
        namespace: str,
        name: str,
        identity: str,
        duration_s: float,
        clock: Callable[[], float],
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._connection = connection
        self._namespace = namespace
        self._name = name
        self._clock = clock
        self._sleep = sleep
        self.election = Election(identity=identity, duration_s=duration_s)
        self._written: dict[str, Any] | None = None
        self._let_in = False

    @property
    def held(self) -> bool:
        """Whether this process leads."""
        return self.election.holds(self._clock())

    def fence(self) -> None:
        """Raise unless this process may write."""
        if not self.held:
            raise NotLeadingError("the Lease is no longer held; another replica of the operator may be active")

    async def acquire(self) -> None:
        """Wait until the Lease is ours. Without the right to have it, waiting is of no use: that is an error.

        Who was let in before is again: an API server that restarts knows no token, or no right, for some moments.
        """
        said = ""
        while True:
            try:
                if await self._try(timeout_s=self.election.duration_s / 3):
                    logger.info("holding the Lease %s/%s as %s", self._namespace, self._name, self.election.identity)
                    return
                said = ""
            except ApiError as problem:
                if problem.status in REFUSED and not self._let_in:
                    raise
                if str(problem) != said:
                    logger.warning("Lease %s/%s: %s", self._namespace, self._name, problem)
                said = str(problem)
            await self._sleep(POLL_S)

    async def keep(self, fit: Callable[[], bool]) -> None:
        """Renew for as long as this process is fit to lead; return when the Lease is lost."""
        duration_s = self.election.duration_s
        pause_s = duration_s * PAUSE_SHARE
        while self.held:
            await self._sleep(pause_s)
            if not fit():
                logger.error("not renewing the Lease: the leading task makes no progress")
                return
            try:
                if not await self._try(timeout_s=duration_s * ATTEMPT_SHARE):
                    logger.error("the Lease was taken by another replica")
                    return
                pause_s = duration_s * PAUSE_SHARE
            except ApiError as problem:
                logger.warning("could not renew the Lease: %s", problem)
                pause_s = RETRY_S
        logger.error("the Lease could not be renewed in time")

    async def release(self) -> None:
        """Give the Lease back, so that the standby need not wait. Best effort."""
        if not self.held:
            return
        self.election.lost()
        try:
            found = await self._connection.request("GET", self._path(), timeout_s=2)
            if found["spec"].get("holderIdentity") == self.election.identity:
                found["spec"] |= {"holderIdentity": "", "leaseDurationSeconds": 1}
                await self._connection.request("PUT", self._path(), found, timeout_s=2)
        except ApiError as problem:
            logger.warning("could not release the Lease: %s", problem)

    async def _try(self, *, timeout_s: float) -> bool:
        """Take or renew the Lease if that is allowed now. False: it is another's."""
        asked_at = self._clock()
        try:
            async with asyncio.timeout(timeout_s):
                return await self._take(asked_at)
        except TimeoutError as problem:
            raise ApiError(0, f"no answer from the API server within {timeout_s:g} s") from problem

    async def _take(self, asked_at: float) -> bool:
        lease = await self._read()
        self._let_in = True
        spec = lease["spec"]
        self.election.observe(spec, asked_at)
        if not self.election.may_take(spec, asked_at):
            self.election.lost()
            return False
        lease["spec"] = self._claim(spec)
        create = "resourceVersion" not in lease["metadata"]
        try:
            method, where = ("POST", path("Lease", self._namespace)) if create else ("PUT", self._path())
            self._written = None
            self._written = await self._connection.request(method, where, lease)
        except ApiError as problem:
            if problem.status != CONFLICT:
                raise
            return self.held  # someone wrote in between; the next look tells who
        self.election.renewed(asked_at)
        return True

    async def _read(self) -> dict[str, Any]:
        """Return the Lease. The holder goes by its own last write: if that is not the latest, the next write is a conflict."""
        if self._written is not None and self.held:
            return self._written
        try:
            found: dict[str, Any] = await self._connection.request("GET", self._path())
        except ApiError as problem:
            if problem.status != NOT_FOUND:
                raise
            metadata = {"name": self._name, "namespace": self._namespace}
            return {"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": metadata, "spec": {}}
        found.setdefault("spec", {})
        return found

    def _claim(self, spec: Mapping[str, Any]) -> dict[str, Any]:
        now = datetime.now(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")
        mine = spec.get("holderIdentity") == self.election.identity
        return {
            "holderIdentity": self.election.identity,
            "leaseDurationSeconds": max(1, round(self.election.duration_s)),
            "acquireTime": spec.get("acquireTime") if mine else now,
            "renewTime": now,
            "leaseTransitions": int(spec.get("leaseTransitions") or 0) + (0 if mine else 1),
        }

    def _path(self) -> str:
        return path("Lease", self._namespace, self._name)
