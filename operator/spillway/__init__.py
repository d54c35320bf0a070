"""Spillway: the cheapest serving that keeps an LLM workload's promises, owned or rented."""

__version__ = "0.1.0"
