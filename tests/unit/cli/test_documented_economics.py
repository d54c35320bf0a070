"""docs/economics.md: what it says of kappa and break-even is what the planner says, and its sums are right."""

import re
from pathlib import Path

import pytest

from spillway.api.workload import InferenceWorkloadSpec
from spillway.cli.questions import default_classes
from spillway.plan.comparing.offers import Offers
from spillway.plan.comparing.options import Question
from spillway.plan.comparing.owning import all_sizes
from spillway.plan.money.economics import break_even_of_replica, kappa

PAGE = (Path(__file__).parents[3] / "docs" / "economics.md").read_text()
L40S_USD = 1.861
A10G_NODE_USD = 5.672


def carried(output_tokens: int) -> float:
    """Return the requests per second of Llama 3.1 8B on one L40S within the page's promise."""
    document = {
        "model": {"id": "meta-llama/Llama-3.1-8B-Instruct"},
        "slo": {"timeToFirstTokenMs": 1000, "interTokenLatencyMs": 50},
        "traffic": {"inputTokens": {"mean": 1000}, "outputTokens": {"mean": output_tokens}},
        "placement": {"mode": "Dedicated"},
        "dedicated": {},
    }
    spec, classes = InferenceWorkloadSpec.model_validate(document), {"nvidia-l40s": default_classes()["nvidia-l40s"]}
    sizes = all_sizes(Question(name="x", spec=spec, classes=classes, offers=Offers(found=(), by_name=False), most_replicas=1))
    assert isinstance(sizes, tuple)
    (size,) = sizes
    return size.requests_per_s


def words(of: float | None, requests: int | None) -> str:
    assert of is not None
    assert requests is not None
    return f"{of:.1f}, never" if of < 1 else f"{of:.1f}, {requests / 1e6:.1f}M"


def test_kappa_and_break_even_move_with_answers_and_prices_as_the_table_says() -> None:
    told = re.findall(r"^\| 1000 \+ (\d+) \| ([\d.]+) /s \| (.*) \| (.*) \| (.*) \|$", PAGE, re.MULTILINE)
    prices = [(float(one), float(other)) for one, other in re.findall(r"at \$([\d.]+) / \$([\d.]+)", PAGE)]
    assert (len(told), len(prices)) == (3, 3)
    for output, rate, *cells in told:
        per_s = carried(int(output))
        assert f"{per_s:.1f}" == rate
        for cell, (usd_in, usd_out) in zip(cells, prices, strict=True):
            usd = (1000 * usd_in + int(output) * usd_out) / 1e6
            of = kappa(hosted_usd_per_request=usd, usd_per_replica_hour=L40S_USD, requests_per_s=per_s)
            requests = break_even_of_replica(hosted_usd_per_request=usd, usd_per_replica_hour=L40S_USD)
            assert cell.replace("kappa ", "").replace(" requests", "") == words(of, requests)


@pytest.mark.parametrize(
    ("computed", "told"),
    [
        pytest.param(A10G_NODE_USD * 720, "{:,.2f}", id="one machine in a month"),
        pytest.param(2 * A10G_NODE_USD * 720 / (500 * 1.5 / 1e6), "{:,.0f}", id="break-even of the first scenario"),
        pytest.param(A10G_NODE_USD * 720 / (500 * 1.5 / 1e6), "{:,.0f}", id="with one machine"),
        pytest.param(A10G_NODE_USD * 720 / 0.015, "{:,.0f}", id="break-even of the second"),
        pytest.param(A10G_NODE_USD * 720 / 0.0075, "{:,.0f}", id="against batches"),
        pytest.param(1200 / A10G_NODE_USD, "{:.0f} of the 720 hours", id="what its price of a month buys"),
        pytest.param(95 * 3600 * 720 / 1e6, "{:.0f}M tokens", id="a full month at its speed"),
        pytest.param(A10G_NODE_USD * 720 / (95 * 3600 * 720 / 1e6), "${:.2f} per million", id="which makes a million cost"),
        pytest.param((1400 - 280) / 1400 * 100, "{:.1f} %", id="memory that its code saves"),
        pytest.param(2 * 80 * 8 * 128 * 2 / 1000, "{:.0f} kB a token", id="the cache of a token"),
    ],
)
def test_the_sums_of_the_page_are_right(computed: float, told: str) -> None:
    assert told.format(computed) in PAGE
