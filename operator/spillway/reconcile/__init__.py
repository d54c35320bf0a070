"""One pass over one workload, the queue that orders passes, and what the operator says of itself."""
