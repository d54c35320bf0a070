"""Where a workload is served, and how it gets from one place to another."""
