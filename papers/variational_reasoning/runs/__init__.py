"""What the jobs of this paper run."""
