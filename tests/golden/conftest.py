"""Golden files: what is rendered is on file, and a difference is part of the review."""

import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the option that writes the files anew: pytest tests/golden --update-golden."""
    parser.addoption("--update-golden", action="store_true", help="write the golden files anew instead of comparing with them")
