"""Compiled where numba is installed (the extra `simulate`), plain Python where it is not: the same functions, the same results."""

import os
from collections.abc import Callable
from typing import TypeVar

Function = TypeVar("Function", bound=Callable[..., object])


def compiled(function: Function) -> Function:
    """Return the function for numba to compile at its first call; NUMBA_DISABLE_JIT=1 leaves it as it is."""
    if os.environ.get("NUMBA_DISABLE_JIT") == "1":
        return function
    try:
        from numba import njit
    except ImportError:
        return function
    try:
        return njit(cache=True)(function)  # type: ignore[no-any-return]
    except RuntimeError:  # no folder may be written for the cache
        return njit(function)  # type: ignore[no-any-return]
