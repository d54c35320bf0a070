"""Replays of traffic through plan.decide, without a cluster: everything in them is a model, and no result is a measurement."""
