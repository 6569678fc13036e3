"""What the jobs of the zoo execute."""
