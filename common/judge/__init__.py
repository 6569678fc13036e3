"""Verbal feedback: what a critic returns, template critics, a pool of conditions, a cache for API critics."""
