"""The ways to serve a workload, owned and rented, and which of them is recommended."""
