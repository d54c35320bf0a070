"""A stand-in for vLLM where its weight is not wanted: the same command line, endpoints, metrics and behaviour, with slept time.

`python -m sim serve MODEL --flags` needs nothing but Python. What it says is held to real vLLM by tests/engine; how long it
takes is set by knobs (see knobs.py) and means nothing unless they were measured. Results made with it must say so.
"""
