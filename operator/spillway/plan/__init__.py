"""Decisions, as functions of values. No clock, no input or output, no Kubernetes objects."""
