"""`python -m sim serve MODEL --flags`."""

import asyncio
import os
import sys

from .knobs import from_environment
from .options import parse
from .server import Server


async def _run() -> int:
    return await Server(parse(sys.argv[1:]), from_environment(os.environ)).run()


def main() -> None:
    """Run the simulator; the exit status is vLLM's."""
    sys.exit(asyncio.run(_run()))


if __name__ == "__main__":
    main()
