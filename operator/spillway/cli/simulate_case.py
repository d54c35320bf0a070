"""From manifests and a trace to what is simulated: the engine's truth, its limits and prices, and the spec that says so to production."""

import math
from collections.abc import Mapping
from dataclasses import dataclass

from spillway.api.base import NamedRef
from spillway.api.catalogue import AcceleratorClassSpec, HostedProviderSpec
from spillway.api.dedicated import Scaling, ScalingMode
from spillway.api.hosted import Hosted, HostedBackendRef
from spillway.api.workload import ApplyMode, InferenceWorkloadSpec, PlacementMode
from spillway.cli.bad_input import BadInputError
from spillway.cli.simulate_choice import OUTPUT_OVER_INPUT, Chosen, choose, observed, provider_of
from spillway.cli.simulate_gateway import not_simulated, told_of_gateway
from spillway.plan.comparing.options import Question
from spillway.plan.decision import Capacity, Memory
from spillway.plan.money.economics import listed_input_usd_per_million
from spillway.plan.replica.capacity import current_lengths, expected_service, size
from spillway.plan.replica.memory import step_tokens
from spillway.plan.replica.roofline import StepModel
from spillway.plan.replica.serving import STEP_OVERHEAD_MS
from spillway.plan.rounding import dollars, figure
from spillway.plan.traffic.observed_load import as_declared
from spillway.simulate.outcome import Prices
from spillway.simulate.setting import EngineModel
from spillway.simulate.trace import Trace, busiest_minute

UNLIKE = 1.5  # times: lengths of a manifest and of a trace that are further apart are worth a warning
ROOM = 1.5  # times what the busiest minute asks for: how many replicas there may be where the manifest does not say
MOST_REPLICAS = 1000  # what dedicated.scaling.maxReplicas allows


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What the command line asks for."""

    start_up_s: float
    kappa: float | None = None
    step: StepModel | None = None  # --engine


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """A workload as it is simulated."""

    label: str
    spec: InferenceWorkloadSpec  # one class, one tensor parallel size; Hybrid, or Dedicated where nothing can be rented
    chosen: Chosen
    accelerator: AcceleratorClassSpec
    providers: Mapping[str, HostedProviderSpec]  # at the prices that are simulated
    engine: EngineModel
    capacity: Capacity  # what the planner expects of a replica
    prices: Prices
    kappa: float | None  # at the trace's lengths; None where nothing can be rented, or owning costs nothing
    demand_replicas_mean: float  # the trace's work
    demand_replicas_peak: float  # of the busiest minute
    measured_engine: bool
    assumptions: tuple[str, ...]
    warnings: tuple[str, ...]

    @property
    def rents(self) -> bool:
        """Whether requests may be spilled."""
        return self.chosen.offer is not None

    @property
    def runs_on(self) -> tuple[str, int]:
        """Class and tensor parallel size of a replica."""
        return self.chosen.accelerator_class, self.chosen.tensor_parallel_size

    def replicas_filled_by(self, trace: Trace) -> float:
        """Return how many replicas the work of a trace fills on average."""
        return float(self.engine.trace_work_s(trace).sum()) / max(trace.duration_s, 1.0)

    @property
    def scaling(self) -> Scaling:
        """Bounds of the number of replicas."""
        return self.spec.own.scaling


def make_case(question: Question, trace: Trace, wanted: Wanted, *, file: str) -> Case:
    """Return what is simulated for a trace. Raises BadInputError where nothing can be owned, or where kappa has no meaning."""
    where = f"{file}: InferenceWorkload {question.name}"
    chosen = choose(question, trace, kappa=wanted.kappa, where=where)
    if wanted.kappa is not None and chosen.offer is None:
        raise BadInputError(
            f"{where}: --kappa: with placement.dataResidency ClusterOnly nothing is rented, so there is no price; leave it out"
        )
    accelerator = question.classes[chosen.accelerator_class]
    spec = _as_simulated(question.spec, chosen, trace)
    capacity, engine = _engine(spec, accelerator, wanted, where)
    work_s = engine.trace_work_s(trace)
    mean = float(work_s.sum()) / max(trace.duration_s, 1.0)
    peak = max(mean, busiest_minute(trace, work_s))
    spec = _bounded(spec, question.spec, peak=peak, rents=chosen.offer is not None)
    listed = _listed(chosen, question.cached_share)
    rented_usd = (float(trace.input_tokens.sum()) * listed[0] + float(trace.output_tokens.sum()) * listed[1]) / 1e6
    owned_usd = float(work_s.sum()) / 3600 * chosen.usd_per_hour
    found = rented_usd / owned_usd if chosen.offer and owned_usd else None
    if wanted.kappa is not None and chosen.offer is not None and not found:
        free = chosen.offer.label if owned_usd else f"AcceleratorClass {chosen.accelerator_class}"
        raise BadInputError(f"{where}: --kappa: {free} is listed for nothing, which cannot be scaled; give it a price")
    factor = wanted.kappa / found if wanted.kappa and found else 1.0
    prices = Prices(
        usd_per_replica_hour=chosen.usd_per_hour,
        hosted_input_usd_per_million=listed[0] * factor,
        hosted_output_usd_per_million=listed[1] * factor,
    )
    return Case(
        label=question.name,
        spec=spec,
        chosen=chosen,
        accelerator=accelerator,
        providers=_providers(chosen, prices),
        engine=engine,
        capacity=capacity,
        prices=prices,
        kappa=found * factor if found is not None else None,
        demand_replicas_mean=mean,
        demand_replicas_peak=peak,
        measured_engine=wanted.step is not None,
        assumptions=(
            *_assumptions(chosen, wanted, engine, factor, question.cached_share),
            *_mode(question.spec, spec),
            *told_of_gateway(spec, accelerator, spills=chosen.offer is not None),
        ),
        warnings=tuple(_warnings(question.spec, spec, trace, chosen, peak=peak)),
    )


def _as_simulated(spec: InferenceWorkloadSpec, chosen: Chosen, trace: Trace) -> InferenceWorkloadSpec:
    """Return the spec that leaves production's code nothing else to choose, and acts. Lengths it does not declare are the trace's.

    No replica is committed: each is billed, and those that spillway took to be paid for would be held for nothing.
    """
    own, offer = spec.own, chosen.offer
    engine = own.engine.model_copy(update={"stated_tensor_parallel_size": chosen.tensor_parallel_size})
    backends = [] if offer is None else [HostedBackendRef(provider_ref=NamedRef(name=offer.provider_name), model=offer.listing.name)]
    seen = as_declared(spec, observed(trace)).traffic
    declares = spec.traffic is not None and spec.traffic.input_tokens is not None and spec.traffic.output_tokens is not None
    return spec.model_copy(
        update={
            "dedicated": own.model_copy(update={"accelerators": [chosen.accelerator_class], "engine": engine, "committed_replicas": 0}),
            "placement": spec.placement.model_copy(
                update={"mode": PlacementMode.HYBRID if offer else PlacementMode.DEDICATED, "apply": ApplyMode.AUTOMATIC}
            ),
            "hosted": (spec.hosted or Hosted()).model_copy(update={"backends": backends}) if backends else None,
            "traffic": spec.traffic if declares else seen,
        }
    )


def _bounded(spec: InferenceWorkloadSpec, asked: InferenceWorkloadSpec, *, peak: float, rents: bool) -> InferenceWorkloadSpec:
    """Return the spec with bounds of the replicas: those of the manifest, else as many as the traffic could want."""
    own = spec.own
    stated = asked.dedicated is not None and "scaling" in asked.dedicated.model_fields_set
    free = Scaling(min_replicas=0 if rents else 1, max_replicas=min(MOST_REPLICAS, max(1, math.ceil(peak * ROOM) + 1)))
    scaling = own.scaling.model_copy(update={"mode": ScalingMode.SPILLWAY}) if stated else free
    return spec.model_copy(update={"dedicated": own.model_copy(update={"scaling": scaling})})


def _engine(spec: InferenceWorkloadSpec, accelerator: AcceleratorClassSpec, wanted: Wanted, where: str) -> tuple[Capacity, EngineModel]:
    """Return what the planner expects of a replica, and the truth: the same, unless --engine says otherwise."""
    capacity = size(spec, accelerator, Memory())
    service = expected_service(spec, accelerator, current_lengths(spec, Memory()))
    if service is None or capacity.kv_tokens is None:
        raise BadInputError(f"{where}: the model's shape is not known; give model.architecture, or its config.json with --model-config")
    own = spec.own
    return capacity, EngineModel(
        step=wanted.step or service.step,
        step_overhead_ms=0.0 if wanted.step else STEP_OVERHEAD_MS,  # whoever measured steps has it in them
        kv_tokens=capacity.kv_tokens,
        max_num_seqs=capacity.max_num_seqs,
        step_tokens=step_tokens(own.engine, accelerator),
        start_up_s=wanted.start_up_s,
    )


def _listed(chosen: Chosen, cached_share: float) -> tuple[float, float]:
    """Return what a million prompt and answer tokens cost, of every prompt as many cached as is declared: a trace does not say."""
    if chosen.offer is None:
        return 0.0, 0.0
    listing = chosen.offer.listing
    return listed_input_usd_per_million(listing, cached_share=cached_share), float(listing.output_usd_per_million_tokens)


def _providers(chosen: Chosen, prices: Prices) -> dict[str, HostedProviderSpec]:
    if chosen.offer is None:
        return {}
    shown = provider_of(
        chosen.offer,
        input_usd_per_million=prices.hosted_input_usd_per_million,
        output_usd_per_million=prices.hosted_output_usd_per_million,
    )
    return {chosen.offer.provider_name: shown}


def _assumptions(chosen: Chosen, wanted: Wanted, engine: EngineModel, factor: float, cached_share: float) -> list[str]:
    own = f"{chosen.tensor_parallel_size} x {chosen.accelerator_class}"
    basis = "its step times are those of --engine" if wanted.step else f"its step times are {chosen.calibrated.lower()} by the planner"
    hourly = f"{dollars(chosen.usd_per_hour)} an hour on demand"
    told = [
        f"A replica is {own} for {hourly} and runs {engine.max_num_seqs} requests together; {basis}.",
        f"A replica takes {engine.start_up_s:g} s to start on average, and is billed from its launch.",
    ]
    if chosen.assumed_offer:
        told.append(
            f"The manifests have no hosted price: --kappa alone sets it, an answer's token at {OUTPUT_OVER_INPUT} times a prompt's."
        )
    elif chosen.offer is not None:
        scaled = f" times {figure(factor)}, for --kappa" if wanted.kappa else ""
        priced = chosen.offer.listing.cached_input_usd_per_million_tokens is not None
        cached = f"{cached_share * 100:.0f} % of the prompt tokens are" if cached_share and priced else "no prompt token is"
        told.append(f"Spill goes to {chosen.offer.label} at its listed price{scaled}; {cached} billed as cached.")
    else:
        told.append("Nothing is rented: no request may or can leave the cluster.")
    return told


def _mode(asked: InferenceWorkloadSpec, spec: InferenceWorkloadSpec) -> list[str]:
    """Say it where the manifest has another mode than is simulated."""
    if asked.placement.mode is spec.placement.mode:
        return []
    how = "own replicas first, and what they cannot take is rented" if spec.rents else "own replicas alone"
    return [f"placement.mode is {asked.placement.mode} in the manifest and {spec.placement.mode} here: {how}."]


def _warnings(asked: InferenceWorkloadSpec, spec: InferenceWorkloadSpec, trace: Trace, chosen: Chosen, *, peak: float) -> list[str]:
    told: list[str] = []
    if chosen.misses is not None:
        told.append(f"By the planner no replica keeps the SLO for requests like these: the cheapest that holds the model {chosen.misses}.")
    traffic = asked.traffic
    for field, declared, found in (
        ("inputTokens", traffic.input_tokens if traffic else None, float(trace.input_tokens.mean())),
        ("outputTokens", traffic.output_tokens if traffic else None, float(trace.output_tokens.mean())),
    ):
        if declared is not None and not 1 / UNLIKE <= found / declared.mean <= UNLIKE:
            told.append(
                f"spec.traffic.{field}.mean is {declared.mean} and the trace's is {found:.0f}: replicas are sized for the former, as in a "
                "cluster; correct it to size them for this traffic."
            )
    scaling = spec.own.scaling
    if scaling.max_replicas < peak:
        told.append(
            f"dedicated.scaling.maxReplicas is {scaling.max_replicas}, and the busiest minute's work fills {peak:.1f} replicas: no "
            "policy may own more; raise it to see whether that pays."
        )
    if asked.own.committed_replicas:
        told.append(
            "dedicated.committedReplicas is not simulated: every replica is billed, and spillway decides as if none were committed."
        )
    return [*told, *not_simulated(spec)]
