"""Committed results as web pages: static, without scripts and without a request to anywhere."""
