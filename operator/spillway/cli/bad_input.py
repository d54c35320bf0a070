"""Input that cannot be used, and how a command ends then."""

import json
import sys
from pathlib import Path
from typing import Any

EXIT_CODE = 2


class BadInputError(Exception):
    """The input cannot be used; each line says where, what, and what to do."""

    def __init__(self, *problems: str) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems

    def tell(self, command: str) -> int:
        """Print the lines to standard error, and return the exit code."""
        for line in self.problems:
            print(f"spillway {command}: {line}", file=sys.stderr)
        return EXIT_CODE


def read_json(file: str, *, unread: str, malformed: str) -> Any:
    """Return what a JSON file holds. Raises BadInputError, with what to do where it cannot be read, or is no JSON."""
    try:
        return json.loads(Path(file).read_text(encoding="utf-8-sig"))
    except OSError as problem:
        raise BadInputError(f"{file}: cannot be read: {problem.strerror or problem}; {unread}") from None
    except (ValueError, RecursionError) as problem:
        raise BadInputError(f"{file}: cannot be read as JSON: {problem}; {malformed}") from None
