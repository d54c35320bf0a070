"""What one replica holds, how fast it is and how long it takes to start: estimated, then learned."""
