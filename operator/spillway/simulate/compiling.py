"""Compiled where numba is installed (the extra `simulate`), plain Python where it is not: the same functions, the same results."""

import os
from collections.abc import Callable
from typing import Any, TypeVar, cast

Function = TypeVar("Function", bound=Callable[..., object])

# The kernel allocates nothing, and counting references to its arrays at every call takes two thirds of its time.
UNCOUNTED: dict[str, Any] = {"_nrt": False}
CACHED: dict[str, Any] = {"cache": True}


def compiled(function: Function) -> Function:
    """Return the function for numba to compile at its first call; NUMBA_DISABLE_JIT=1 leaves it as it is."""
    if os.environ.get("NUMBA_DISABLE_JIT") == "1":
        return function
    try:
        from numba import njit
    except ImportError:
        return function
    for wishes in ({**CACHED, **UNCOUNTED}, CACHED, UNCOUNTED, {}):
        try:
            made: Any = njit(error_model="numpy", **wishes)(function)
        except (KeyError, RuntimeError):  # a version that does not know the option; no folder that may be written for the cache
            continue
        return cast("Function", made)
    return function
