"""Results are written into a benchmark's README, between two marks."""

from pathlib import Path

BEGIN, END = "<!-- measured: begin -->", "<!-- measured: end -->"


def write_results(readme: Path, text: str) -> None:
    """Put the results between the marks. Raises SystemExit where there are none."""
    before, _, rest = readme.read_text(encoding="utf-8").partition(BEGIN)
    _, mark, after = rest.partition(END)
    if not mark:
        raise SystemExit(f"{readme} has no place for results: add the lines {BEGIN} and {END}")
    readme.write_text(f"{before}{BEGIN}\n\n{text.strip()}\n\n{END}{after}", encoding="utf-8")
