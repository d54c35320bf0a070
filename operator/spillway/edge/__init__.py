"""Where the process meets the world: kopf's watches, the Lease, probes and signals. The only importer of kopf."""
