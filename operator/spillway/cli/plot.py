"""`spillway plan --plot`: cost against volume for each way to serve, with the break-even marked. Only this module needs matplotlib."""

from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter

from spillway.api.plan_output import PlanOutput, SweepPoint
from spillway.plan.rounding import dollars
from spillway.report.plan_words import amount

# Okabe and Ito's colours, which stay apart for those who see fewer; each mode also has a line of its own.
STYLES = {
    "Hosted": ("#0072B2", "-"),
    "Batch": ("#56B4E9", ":"),
    "Dedicated": ("#D55E00", "--"),
    "Hybrid": ("#009E73", "-."),
}
MARK = "#444444"


def draw(plan: PlanOutput, file: str) -> None:
    """Write the picture; the end of the name says in which format."""
    figure = Figure(figsize=(9, 5), dpi=150, layout="constrained")
    axes = figure.add_subplot()
    volumes = [point.requests_per_month for point in plan.sweep]
    for mode, (colour, line) in STYLES.items():
        costs = [_usd(point, mode) for point in plan.sweep]
        if any(cost is not None for cost in costs):
            known = [float("nan") if cost is None else cost for cost in costs]
            axes.plot(volumes, known, color=colour, linestyle=line, linewidth=2, label=mode, marker="o" if len(volumes) == 1 else "")
    _mark(axes, plan.break_even_requests_per_month, f"owning pays from {amount(plan.break_even_requests_per_month or 0)}", volumes, 0.97)
    _mark(axes, plan.traffic.requests_per_month, f"planned for: {amount(plan.traffic.requests_per_month)}", volumes, 0.90)
    axes.set(xlabel="requests a month", ylabel="USD a month", title=f"{plan.workload}: {plan.model}", ylim=(0, None))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: amount(value)))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: dollars(value).removesuffix(".00")))
    axes.grid(alpha=0.3)
    axes.legend(loc="best")
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    figure.savefig(file)


def _usd(point: SweepPoint, mode: str) -> float | None:
    return {
        "Hosted": point.hosted_usd,
        "Batch": point.batch_usd,
        "Dedicated": point.dedicated_usd,
        "Hybrid": point.hybrid_usd,
    }[mode]


def _mark(axes: Axes, volume: float | None, text: str, volumes: Sequence[float], height: float) -> None:
    if volume is None or not volumes[0] <= volume <= volumes[-1]:
        return
    axes.axvline(volume, color=MARK, linewidth=1, linestyle=(0, (2, 3)))
    right = volume > (volumes[0] + volumes[-1]) / 2
    axes.annotate(
        text,
        xy=(volume, height),
        xycoords=("data", "axes fraction"),
        xytext=(-5 if right else 5, 0),
        textcoords="offset points",
        ha="right" if right else "left",
        va="top",
        fontsize=9,
        color=MARK,
        bbox={"facecolor": "white", "edgecolor": "none", "pad": 1.5},
    )
