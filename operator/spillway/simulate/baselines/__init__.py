"""Scalers to compare with: our re-implementations of documented rules, one module a family. `catalogue.py` lists them with their sources.

Whether a gateway spills beside a rule is the simulator's matter; a rule only sees what its signal shows. A rule that waits for a queue
sees none where requests that would queue are spilled, which is one of the things to be shown.
"""
