"""What it costs: prices, the arithmetic of a month, and the ledger that survives restarts."""
