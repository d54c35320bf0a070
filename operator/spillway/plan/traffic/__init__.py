"""What arrives: how much, how it moves, and how long requests are."""
