"""Input: the cluster as watch events show it, and Prometheus. Fills the plan's observation; decides nothing."""
