"""Input that cannot be used, and how a command ends then."""

import sys

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
