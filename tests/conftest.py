"""Laws are tried on a fixed set of examples: the same ones on every machine, and without a deadline that a busy one would miss."""

from hypothesis import settings

settings.register_profile("laws", deadline=None, max_examples=60, derandomize=True)
settings.load_profile("laws")
