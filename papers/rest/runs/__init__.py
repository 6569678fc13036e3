"""What the jobs of ResT run."""
