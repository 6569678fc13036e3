"""What the jobs of FCP execute."""
