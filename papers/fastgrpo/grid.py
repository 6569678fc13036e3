"""The sizes at which passes, trees and drafts are measured; apart from what measures, so that a report can
name them without loading it.
"""

from __future__ import annotations

ROWS = (1, 2, 4, 8, 16, 32, 64, 128)
TOKENS = (1, 2, 4, 8, 16, 32, 64, 128)
LARGEST_PASS = 1024  # tokens of the largest pass that is timed
CURVE = (1, 4, 16, 32, 64, 96, 128, 192, 256)
"""Batch sizes of the single-token passes whose throughput shows the knee."""
BATCHES = (1, 8, 64)
BUDGETS = (1, 4, 8, 16, 32)
"""Tokens of a row in the passes of the static schedules at fixed batches; 1 is plain decoding."""
TOP_KS, DEPTHS = (1, 2, 4, 8), (1, 2, 3, 4, 5)
KEPT = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64)
ALPHAS = (0.5, 0.75, 1.0, 1.5)
DRAFT_ROWS, DRAFT_DEPTHS = (1, 8, 64), (1, 4)
LAYERS = (8, 16, 28)
"""Depths of a target whose passes are timed beside one and the same draft; the paper's 1.5B model has 28."""
