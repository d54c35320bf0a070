"""The process: watches on every replica of the operator, passes on the one that holds the Lease, an exit code that tells why it ended."""

import asyncio
import contextlib
import logging
import signal
import uuid
from collections.abc import Callable, Coroutine
from datetime import UTC, datetime
from typing import Any

import aiohttp
import kopf
from prometheus_client import CollectorRegistry, GCCollector, PlatformCollector, ProcessCollector, start_http_server

from spillway.api.vocabulary import PORT_GATEWAY_METRICS, Reason
from spillway.apply.applier import Applier, NotLeadingError
from spillway.apply.connection import ApiError, Connection, connected
from spillway.apply.events import BUSY_PAUSE_S, PAUSE_S, EventRecorder
from spillway.apply.gateway import tell_share
from spillway.apply.known import KnownObjects
from spillway.apply.lease import Lease
from spillway.edge import handlers
from spillway.edge.intake import Intake
from spillway.edge.leading import Leading
from spillway.edge.probes import serve_probes
from spillway.edge.vitals import Role, Vitals, Watches, not_live, not_ready
from spillway.observe.child import Child
from spillway.observe.cluster import ClusterView
from spillway.observe.gateways import read_load
from spillway.observe.prometheus import PrometheusSource
from spillway.plan.decision import Decision, Key
from spillway.plan.gateway.shares import GatewayLoad
from spillway.plan.observation import Missing
from spillway.reconcile.bookkeeping import Bookkeeping
from spillway.reconcile.queue import ReconcileQueue, work
from spillway.reconcile.recollection import Recollection
from spillway.reconcile.reconcile import PassFailedError, Reconciler
from spillway.reconcile.settings import Settings
from spillway.reconcile.sharing import Sharing
from spillway.reconcile.stocktaking import Stocktaker
from spillway.reconcile.telemetry import Telemetry
from spillway.reconcile.tick import tick_forever
from spillway.reconcile.world import World

logger = logging.getLogger(__name__)

GOODBYE_S = 8.0  # for writing down what is remembered and releasing the Lease; less than a pod's termination grace
# A pass ends by its own timeout, at which its key is free and the next is taken. A queue that stands still for longer is stuck: then the
# Lease is given back. With the time until the next renewal (1.5 s) and the standby's next look that is less than 20 s after a pass hung.
STUCK_MARGIN_S = 2.0
# Of the Lease alone: a renewal must not wait until a flock of objects is applied. On a machine with seven times the work it can do, the
# Lease was lost over it.
LEASE_CONNECTIONS = 2


async def run(settings: Settings) -> int:
    """Run until SIGTERM or SIGINT (0), or until something that must not end has ended (1)."""
    async with (
        connected(connections=settings.connections) as connection,
        connected(connections=LEASE_CONNECTIONS) as reserved,
        aiohttp.ClientSession() as session,
    ):
        return await _Process(settings, connection, reserved, session).run()


class _Process:
    """Everything that makes up the operator, wired together."""

    def __init__(self, settings: Settings, connection: Connection, reserved: Connection, session: aiohttp.ClientSession) -> None:
        loop = asyncio.get_running_loop()
        self._settings = settings
        self._connection = connection
        identity = f"{settings.identity}_{uuid.uuid4().hex[:8]}"
        self._lease = Lease(
            reserved,
            namespace=settings.namespace,
            name=settings.lease_name,
            identity=identity,
            duration_s=settings.lease_s,
            clock=loop.time,
        )
        known = KnownObjects()
        self._queue = ReconcileQueue(loop.time, failing_at_once=max(1, settings.workers - 1))
        self._world = World(view=ClusterView(), known=known, window_s=settings.metrics_window_s, unasked=_unasked(settings))
        self._applier = Applier(connection, known, self._lease.fence, clock=loop.time)
        self._bookkeeping = Bookkeeping(self._applier, known, every_s=settings.ledger_every_s)
        self._recollection = Recollection(self._applier, known)
        self._telemetry = Telemetry(
            queue_depth=lambda: self._queue.depth if self._lease.held else 0,
            queue_delay_s=lambda: self._queue.delay_s if self._lease.held else 0,
            leading=lambda: self._lease.held,
            requests=lambda: self._applier.requests,
        )
        self._recorder = EventRecorder(connection, self._lease.fence, instance=settings.identity, pause_s=self._event_pause_s)
        self._session = session
        self._sharing = Sharing(view=self._world.view, look=self._look, tell=self._tell)
        self._reconciler = Reconciler(
            settings=settings,
            world=self._world,
            connection=connection,
            applier=self._applier,
            recorder=self._recorder,
            bookkeeping=self._bookkeeping,
            recollection=self._recollection,
            telemetry=self._telemetry,
            sharing=self._sharing,
            fence=self._lease.fence,
            revisit_s=self._revisit_s,
        )
        self._source = _source(settings)
        self._stocktaker = Stocktaker(connection, self._world, self._queue)
        self._leading = Leading(lease=self._lease, prepare=self._prepare, tasks=self._tasks, fit=lambda: not self._vitals().stuck)
        self._watches: asyncio.Task[None] | None = None
        self._watches_ready = asyncio.Event()
        self._stop_watches = asyncio.Event()

    async def run(self) -> int:
        with contextlib.ExitStack() as stack:
            stop, metrics_port = _serve_metrics(self._settings, self._telemetry)
            stack.callback(stop)
            logger.info("metrics on port %d", metrics_port)
            probes, probe_port = await serve_probes(
                port=self._settings.probe_port, live=lambda: not_live(self._vitals()), ready=lambda: not_ready(self._vitals())
            )
            logger.info("probes on port %d", probe_port)
            try:
                return await self._supervise()
            finally:
                if self._source is not None:
                    self._source.close()
                await probes.cleanup()

    async def _supervise(self) -> int:
        asked = asyncio.Event()
        leading = asyncio.create_task(self._leading.run(), name="leading")
        stopping = asyncio.create_task(asked.wait(), name="stop signal")
        ours = asyncio.all_tasks()
        tasks = await kopf.spawn_tasks(
            registry=handlers.registry(Intake(self._world, self._queue, leading=lambda: self._leading.prepared)),
            settings=handlers.settings(),
            clusterwide=True,
            # kopf would look up the user's name, which a pod's arbitrary uid does not have; its type is a private NewType of str
            identity=self._settings.identity,  # type: ignore[arg-type]
            stop_flag=self._stop_watches,
            ready_flag=self._watches_ready,
        )
        loop = asyncio.get_running_loop()
        for each in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(each, asked.set)  # in place of kopf's: the Lease is released before the watches end
        self._watches = asyncio.create_task(kopf.run_tasks(tasks, ignored=ours), name="watches")
        await asyncio.wait({leading, stopping, self._watches}, return_when=asyncio.FIRST_COMPLETED)
        code = 0 if asked.is_set() else 1
        for task, what in ((leading, "leading"), (self._watches, "watching")):
            if task.done():
                logger.error("%s has ended", what, exc_info=None if task.cancelled() else task.exception())
        await self._goodbye(leading)
        stopping.cancel()
        return code

    async def _goodbye(self, leading: asyncio.Task[None]) -> None:
        """Stop working, write down what is in memory only, give the Lease back, stop watching."""
        leading.cancel()
        await asyncio.wait({leading}, timeout=GOODBYE_S)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(GOODBYE_S):
                try:
                    if self._lease.held and self._leading.prepared:
                        for failure in await self._reconciler.flush():
                            logger.warning("not all learned state could be saved: %s", failure)
                except NotLeadingError as problem:
                    logger.warning("could not save learned state: %s", problem)
                finally:
                    await self._lease.release()
        self._stop_watches.set()
        if self._watches is not None:
            await asyncio.wait({self._watches}, timeout=GOODBYE_S)

    async def _prepare(self) -> None:
        """Make sure that nothing is decided on half a view or an unread ledger."""
        await self._watches_ready.wait()
        await self._stocktaker.sync()
        await self._bookkeeping.load(self._connection)
        await self._recollection.load(self._connection)
        self._world.leading_since = datetime.now(UTC)
        for key in self._world.view.workloads:
            self._queue.add(key)
        self._queue.begin()
        logger.info("leading: %d workloads", len(self._world.view.workloads))

    def _tasks(self) -> dict[str, Coroutine[Any, Any, None]]:
        workers = {
            f"worker {number}": work(self._queue, self._reconciler.run, on_error=self._failed) for number in range(self._settings.workers)
        }
        tasks = {**workers, "stocktaking": self._stocktaker.run(), "posting Events": self._recorder.run(), "sharing": self._sharing.run()}
        if self._source is not None:
            tasks["ticking"] = tick_forever(self._source, self._world, self._queue, every_s=self._settings.tick_s)
        return tasks

    async def _look(self, pod: Child) -> GatewayLoad | None:
        if pod.sharing is None or pod.sharing.address is None:
            return None
        address = pod.sharing.address
        host = f"[{address}]" if ":" in address else address
        return await read_load(self._session, f"http://{host}:{PORT_GATEWAY_METRICS}")

    async def _tell(self, key: Key, pod: Child, share: int) -> bool:
        return await tell_share(self._connection, self._lease.fence, namespace=key.namespace, name=pod.name, uid=pod.uid, share=share)

    def _revisit_s(self, decision: Decision) -> float:
        """Return when to look again by itself. Where a tick brings every workload up anyway, that is only a net under it."""
        wanted = decision.revisit_after.total_seconds()
        return max(wanted, 2 * self._settings.tick_s) if self._source is not None else wanted

    def _event_pause_s(self) -> float:
        return BUSY_PAUSE_S if self._queue.depth > self._settings.workers else PAUSE_S

    def _failed(self, key: Key, problem: BaseException) -> None:
        self._telemetry.errors[type(problem).__name__] += 1
        log_failure(key, problem)

    def _vitals(self) -> Vitals:
        return Vitals(
            watches=self._watches_state(),
            role=self._role(),
            stalled_s=self._queue.stalled_s,
            stuck_after_s=self._settings.pass_timeout_s + STUCK_MARGIN_S,
            all_shown=self._stocktaker.watching,
            uncompared=self._stocktaker.failed,
        )

    def _watches_state(self) -> Watches:
        if self._watches is not None and self._watches.done():
            return Watches.ENDED
        return Watches.RUNNING if self._watches_ready.is_set() else Watches.STARTING

    def _role(self) -> Role:
        if self._leading.prepared:
            return Role.LEADING if self._lease.held else Role.DEPOSED
        return Role.PREPARING if self._lease.held else Role.STANDBY


def log_failure(key: Key, problem: BaseException) -> None:
    """Log a pass that failed: in a line where its words say all there is to say, else with where it happened."""
    expected = isinstance(problem, (PassFailedError, ApiError, NotLeadingError, TimeoutError))
    logger.error("%s/%s: %s", key.namespace, key.name, str(problem) or type(problem).__name__, exc_info=None if expected else problem)


def _source(settings: Settings) -> PrometheusSource | None:
    if settings.prometheus_url is None:
        return None
    return PrometheusSource.at(
        settings.prometheus_url,
        settings.prometheus_access,
        window_s=settings.metrics_window_s,
        timeout_s=settings.prometheus_timeout_s,
    )


def _unasked(settings: Settings) -> Missing:
    if settings.prometheus_url is None:
        return Missing(reason=Reason.PROMETHEUS_ERROR, detail="no Prometheus is configured; set prometheus.url in the chart")
    return Missing(reason=Reason.METRICS_MISSING, detail="Prometheus has not been queried yet")


def _serve_metrics(settings: Settings, telemetry: Telemetry) -> tuple[Callable[[], None], int]:
    """Serve /metrics from a thread; return how to stop that, and the port."""
    registry = CollectorRegistry()
    for make in (ProcessCollector, PlatformCollector, GCCollector):
        make(registry=registry)
    registry.register(telemetry)
    server, _ = start_http_server(settings.metrics_port, addr=settings.render.listen_address, registry=registry)

    def stop() -> None:
        server.shutdown()
        server.server_close()

    return stop, server.server_port
