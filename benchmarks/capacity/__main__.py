"""How far the capacity model is off for models and accelerators that its fit has not seen.

    python -m benchmarks.capacity [--write]

One model family at a time, and then one accelerator at a time, is left out of the fit of the roofline's constants and predicted by what is
left: a step with one sequence, what each of 64 sequences of 2048 tokens adds, prompts of 1000 and 8000 tokens, and the requests per second
that follow for a chat (1000 tokens in, 250 out, 60 ms between tokens, 3 s to the first). KV capacity is compared as it is, since nothing of
it is fitted, and Splitwise's measurements of 2023 up to one factor per figure, which is what engines have gained since. First tokens under
load are compared with a simulated replica, which is compiled where the extra `simulate` is there and takes many minutes where it is not.

`--write` puts tables and plots into benchmarks/capacity/README.md. Exits 1 when a bar is missed: median error at most 15 %, worst family or
accelerator at most 40 %, the constants of replica/roofline.py within 5 % of those of a fit, and first tokens at p95 and p99 as told, median
15 %, worst 40 %.
"""

import argparse
import statistics
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from benchmarks.capacity.errors import Compared, blis, elsewhere, kv_capacity, leave_one_out, median, ninth_of_ten, splitwise
from benchmarks.capacity.first_tokens import missed as first_tokens_missed
from benchmarks.capacity.first_tokens import rows as first_token_rows
from benchmarks.capacity.first_tokens import table as first_token_table
from benchmarks.capacity.fitting import drifted, fit
from benchmarks.capacity.measured import SHARED, family, rows, same_storage
from benchmarks.capacity.plot import scatter
from benchmarks.capacity.real_runs import compared, machine, tables
from spillway.plan.replica.calibration import CalibrationRow

HERE = Path(__file__).parent
BEGIN, END = "<!-- measured: begin -->", "<!-- measured: end -->"
MEDIAN_BAR = 15.0
WORST_BAR = 40.0
FIGURES = (("base_ms", "base step"), ("slope_ms", "per sequence"), ("prompt_ms", "prompt of 1000"), ("long_prompt_ms", "of 8000"))
KINDS = ("dense, 16 bits", "experts", "8 bits")
RATE = ("rate", "requests/s")


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.capacity", description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--write", action="store_true", help="write tables and plots into benchmarks/capacity/README.md")
    parsed = parser.parse_args()
    measured = rows()
    by_family = leave_one_out(measured, family)
    by_accelerator = leave_one_out(measured, lambda row: row.accelerator)
    first_tokens = list(first_token_rows())
    text = "\n".join(
        [
            f"{len(measured)} rows, {'the shared table' if SHARED.exists() else 'the table of plan/replica/calibration.py'}.",
            "",
            *_table("family left out", by_family, same_storage),
            "",
            *_table("accelerator left out", by_accelerator, lambda row: row.accelerator),
            "",
            *_kinds(by_family, by_accelerator),
            "",
            *_elsewhere_table(measured),
            "",
            *_kv_table(kv_capacity(measured)),
            "",
            *first_token_table(first_tokens),
            "",
            *tables(compared(), machine()),
            "",
            *_blis_table(),
            "",
            *_splitwise_table(),
        ]
    )
    print(text)
    if parsed.write:
        _write(text, by_family, by_accelerator)
    missed = [*_missed("family", by_family, family), *_missed("accelerator", by_accelerator, lambda row: row.accelerator)]
    missed += [f"plan/replica/roofline.py has drifted from a fit: {each}" for each in drifted(fit(measured))]
    missed += first_tokens_missed(first_tokens)
    for each in missed:
        print(f"MISSED: {each}", file=sys.stderr)
    return 1 if missed else 0


def _table(title: str, compared: Sequence[Compared], group: Callable[[CalibrationRow], str]) -> list[str]:
    names = [*FIGURES, RATE]
    lines = [f"| {title} | rows | {' | '.join(heading for _, heading in names)} |", "|---|---|" + "---|" * len(names)]
    for label in sorted({group(each.row) for each in compared}):
        of = [each for each in compared if group(each.row) == label]
        lines.append(f"| {label} | {len(of)} | {' | '.join(_cell(of, name) for name, _ in names)} |")
    return [*lines, f"| **all** | {len(compared)} | {' | '.join(f'**{_cell(compared, name)}**' for name, _ in names)} |"]


def _cell(compared: Sequence[Compared], name: str) -> str:
    errors = [each.error(name) for each in compared]
    return f"{median(errors):.0f} % ({max(100 * abs(each) for each in errors if each is not None):.0f})"


def _kind(row: CalibrationRow) -> str:
    return "8 bits" if "fp8" in row.model.lower() else "experts" if family(row) in ("Qwen3 experts", "gpt-oss") else "dense, 16 bits"


def _elsewhere_table(measured: Sequence[CalibrationRow]) -> list[str]:
    lines = [
        "| requests/s on an accelerator the model was not measured on | rows | roofline | corrected by its other rows |",
        "|---|---|---|---|",
    ]
    found = elsewhere(measured)
    for label in KINDS:
        of = [each for each in found if _kind(each[0]) == label]
        sides = ([plain for _, plain, _ in of], [corrected for _, _, corrected in of])
        cells = [f"{median(each):.0f} % ({ninth_of_ten(each):.0f})" for each in sides]
        lines.append(f"| {label} | {len(of)} | {' | '.join(cells)} |")
    return lines


def _kinds(*runs: Sequence[Compared]) -> list[str]:
    """Return what error_percent in plan/replica/sizing.py is taken from."""
    lines = ["| nine of ten requests/s within | family left out | accelerator left out |", "|---|---|---|"]
    for label in KINDS:
        cells = [f"{ninth_of_ten(each.error('rate') for each in run if _kind(each.row) == label):.0f} %" for run in runs]
        lines.append(f"| {label} | {' | '.join(cells)} |")
    return lines


def _kv_table(compared: Sequence[Compared]) -> list[str]:
    errors = [each.error("kv_tokens") for each in compared]
    worst = max(compared, key=lambda each: abs(each.error("kv_tokens") or 0))
    label = f"{worst.row.model} on {worst.row.tensor_parallel_size} x {worst.row.accelerator}"
    return [
        "| KV capacity | |",
        "|---|---|",
        f"| median error | {median(errors):.1f} % |",
        f"| nine of ten within | {ninth_of_ten(errors):.1f} % |",
        f"| worst | {100 * (worst.error('kv_tokens') or 0):+.0f} %, {label} |",
    ]


def _blis_table() -> list[str]:
    found = blis()
    lines = ["| real runs, vLLM 0.11, 1 x H100 | base step | per prompt token |", "|---|---|---|"]
    lines += [f"| {model} | {100 * base:+.0f} % | {100 * prompt:+.0f} % |" for model, base, prompt in found]
    bases, prompts = median(each[1] for each in found), median(each[2] for each in found)
    return [*lines, f"| **median error** | **{bases:.0f} %** | **{prompts:.0f} %** |"]


def _splitwise_table() -> list[str]:
    found = splitwise()
    names = FIGURES[:3]
    factors = {name: statistics.median(seen[name] / told[name] for _, told, seen in found) for name, _ in names}
    lines = [f"| Splitwise, 2023 | {' | '.join(heading for _, heading in names)} |", "|---|" + "---|" * len(names)]
    lines.append(f"| slower than today by | {' | '.join(f'{factors[name]:.2f} x' for name, _ in names)} |")
    for row, told, seen in found:
        cells = [f"{100 * (told[name] * factors[name] / seen[name] - 1):+.0f} %" for name, _ in names]
        lines.append(f"| {row.model}, {row.tensor_parallel_size} x {row.accelerator} | {' | '.join(cells)} |")
    middle = [median(told[name] * factors[name] / seen[name] - 1 for _, told, seen in found) for name, _ in names]
    return [*lines, f"| **median error after that factor** | {' | '.join(f'**{each:.0f} %**' for each in middle)} |"]


def _missed(title: str, compared: Sequence[Compared], group: Callable[[CalibrationRow], str]) -> list[str]:
    missed: list[str] = []
    for name, heading in FIGURES:
        overall = median(each.error(name) for each in compared)
        if overall > MEDIAN_BAR:
            missed.append(f"{heading}, {title} left out: median {overall:.0f} %, bar {MEDIAN_BAR:.0f} %")
        for label in sorted({group(each.row) for each in compared}):
            found = median(each.error(name) for each in compared if group(each.row) == label)
            if found > WORST_BAR:
                missed.append(f"{heading}, {label} left out: median {found:.0f} %, bar {WORST_BAR:.0f} %")
    return missed


def _write(text: str, by_family: Sequence[Compared], by_accelerator: Sequence[Compared]) -> None:
    readme = HERE / "README.md"
    before, _, rest = readme.read_text().partition(BEGIN)
    _, _, after = rest.partition(END)
    readme.write_text(f"{before}{BEGIN}\n\n{text}\n\n{END}{after}")
    panels = [(name, f"{heading}, ms") for name, heading in FIGURES[:3]] + [RATE]
    (HERE / "families.svg").write_text(scatter("One family left out at a time", by_family, panels, lambda each: same_storage(each.row)))
    (HERE / "accelerators.svg").write_text(
        scatter("One accelerator left out at a time", by_accelerator, panels, lambda each: each.row.accelerator)
    )


if __name__ == "__main__":
    sys.exit(main())
