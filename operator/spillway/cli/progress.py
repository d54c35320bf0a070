"""How far a command is: told on a terminal, where somebody looks, and nowhere else."""

import sys

WIDTH = 30  # characters of a bar


def show(text: str) -> None:
    """Put a line in the place of the one before."""
    if sys.stderr.isatty():
        print(f"\r\x1b[K{text}", end="", file=sys.stderr, flush=True)


def show_share(what: str, share: float) -> None:
    """Draw how much of something is done, from 0 to 1; nothing of what is done."""
    full = int(WIDTH * min(1.0, share))
    show(f"[{'#' * full}{'.' * (WIDTH - full)}] {100 * min(1.0, share):3.0f} % {what}" if share < 1 else "")


def clear() -> None:
    """Take away what is shown: whatever is printed next begins its own line."""
    show("")
