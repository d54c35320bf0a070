"""Unit tests call the simulator's kernel as plain Python: compiling it takes longer than all of them (tests/compiled does)."""

import os

os.environ["NUMBA_DISABLE_JIT"] = "1"
