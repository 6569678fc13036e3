"""The objective zoo: every RLVR objective of this repository on one task (a study of our own, no paper)."""
