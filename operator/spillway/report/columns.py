"""Text in columns and paragraphs, no wider than a terminal."""

import textwrap
from collections.abc import Iterable, Sequence

Row = tuple[str, ...]
SHORTEST_END = 4  # characters of a name that say what, where a provider's name takes the rest
NARROWEST = 12  # characters that a name keeps
MOST_NAMED = 3  # names that a sentence holds


def table(head: Row, rows: Sequence[Row], width: int, *, texts: tuple[int, ...], gives: int | None = None) -> str:
    """Return aligned columns; `texts` are those of text, the others of numbers.

    Where the line would be too long, the column `gives` is cut, the last one of text if none is named. Empty columns are left out.
    """
    used = [index for index in range(len(head)) if index == 0 or any(row[index] for row in rows)]
    cells = [[row[index] for index in used] for row in (head, *rows)]
    widths = [max(len(row[column]) for row in cells) for column in range(len(used))]
    left = [column for column, index in enumerate(used) if index in texts]
    excess = sum(widths) + 2 * (len(widths) - 1) - width
    cuttable = used.index(gives) if gives in used else left[-1] if left else None
    if cuttable is not None and excess > 0:
        widths[cuttable] = max(NARROWEST, widths[cuttable] - excess)
    return "\n".join(_line(row, widths, left) for row in cells)


def _line(row: Sequence[str], widths: Sequence[int], texts: Sequence[int]) -> str:
    parts = [
        cut(text, widths[column]).ljust(widths[column]) if column in texts else text.rjust(widths[column])
        for column, text in enumerate(row)
    ]
    return "  ".join(parts).rstrip()


def cut(text: str, width: int) -> str:
    """Shorten a name in its middle: its beginning, up to a provider's name, says who, its end says what."""
    if len(text) <= width:
        return text
    provider, slash, _ = text.partition("/")
    head = min(len(provider) + 1, max(2 * width // 3, width - SHORTEST_END)) if slash else (width - 1) // 3
    return f"{text[:head]}…{text[len(text) - (width - 1 - head) :]}"


def bullets(title: str, lines: Iterable[str], width: int) -> str:
    """Return a list below its title; nothing where it is empty."""
    listed = [wrapped(line, width, indent="  - ", hanging="    ") for line in lines]
    return "\n".join([title, *listed]) if listed else ""


def wrapped(text: str, width: int, *, indent: str = "", hanging: str | None = None) -> str:
    """Return a paragraph; `hanging` indents what follows its first line."""
    return textwrap.fill(
        text,
        width,
        initial_indent=indent,
        subsequent_indent=indent if hanging is None else hanging,
        break_on_hyphens=False,
        break_long_words=False,
    )


def some(names: Sequence[str]) -> str:
    """Return a few names and how many more there are."""
    more = len(names) - MOST_NAMED
    return ", ".join(names[:MOST_NAMED]) + (f" and {more} more" if more > 0 else "")
