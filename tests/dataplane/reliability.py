"""The table of docs/reliability.md: a row for each fault, with what became of the requests that were sent meanwhile."""

import fcntl
from dataclasses import dataclass, field
from pathlib import Path

PAGE = Path(__file__).parents[2] / "docs" / "reliability.md"
UPDATE = "SPILLWAY_UPDATE_RELIABILITY"  # an environment variable: write the rows that this run has made
_HEADER = "| fault | sent | owned | spilled | failed | lost | what clients see |"
_RULE = "|---|---|---|---|---|---|---|"


@dataclass(slots=True, kw_only=True)
class Tally:
    """What became of requests. Each is exactly one of owned, spilled, failed and lost."""

    owned: int = 0  # complete answers of own replicas
    spilled: int = 0  # complete answers of hosted endpoints
    failed: int = 0  # errors that say so, in OpenAI's shape
    lost: int = 0  # neither: cut short, or closed without an answer
    seen: dict[str, int] = field(default_factory=dict)  # how often each error and each way of being lost was seen

    @property
    def sent(self) -> int:
        """How many there were."""
        return self.owned + self.spilled + self.failed + self.lost

    def note(self, what: str) -> None:
        """Count one sort of error or loss."""
        self.seen[what] = self.seen.get(what, 0) + 1


class Table:
    """Rows by fault. What was not run keeps the row that the page has."""

    def __init__(self) -> None:
        self.rows = dict(committed())
        self.made: set[str] = set()

    def record(self, fault: str, tally: Tally, *, seen: str) -> None:
        """Take down the outcome of a fault."""
        counts = (tally.sent, tally.owned, tally.spilled, tally.failed, tally.lost)
        self.rows[fault] = f"| {fault} | {' | '.join(map(str, counts))} | {seen} |"
        self.made.add(fault)

    def write(self) -> None:
        """Put the rows that were made into the page; other processes may be about to write theirs."""
        with PAGE.open("r+") as page:
            fcntl.flock(page, fcntl.LOCK_EX)
            rows = committed() | {fault: self.rows[fault] for fault in self.made}
            before, after = _around(page.read())
            page.seek(0)
            page.write("\n".join([before, _HEADER, _RULE, *rows.values(), after]))
            page.truncate()


def committed() -> dict[str, str]:
    """Return the page's rows by fault, in their order."""
    lines = PAGE.read_text().splitlines()
    assert _HEADER in lines, f"{PAGE.name} has no line {_HEADER!r}"
    start = lines.index(_HEADER) + 2
    rows: dict[str, str] = {}
    for line in lines[start:]:
        if not line.startswith("|"):
            break
        rows[line.split("|")[1].strip()] = line
    return rows


def _around(text: str) -> tuple[str, str]:
    lines = text.split("\n")
    start = lines.index(_HEADER)
    end = next((place for place, line in enumerate(lines) if place > start and not line.startswith("|")), len(lines))
    return "\n".join(lines[:start]), "\n".join(lines[end:])
