"""What happened, as a status: pure, so that every sentence a user reads has a test."""
