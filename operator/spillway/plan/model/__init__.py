"""What is known of a model: its shape, where it was read, and what its own replica tells."""
