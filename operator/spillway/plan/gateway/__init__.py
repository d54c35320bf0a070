"""What gateways may do: the concurrency cap and its shares, and the permit to spend at hosted backends."""
