"""Output: the only code that writes to the cluster, and only while this process holds the Lease."""
