"""What `make example` changes in the README's example: the model, and every size."""

from __future__ import annotations

REPLACED = {
    '"Qwen/Qwen3-0.6B"': '"smollm2"',
    '"max_new_tokens": 64, "min_new_tokens": 64, "num_return_sequences": 16': (
        '"max_new_tokens": 12, "min_new_tokens": 12, "num_return_sequences": 4'
    ),
    "lr=1e-6": "lr=1e-5",
    "range(1, 101)": "range(1, 7)",
}
SHOWN = {"history loss": "loss", "history characters": "characters of a response"}


def prepare() -> None:
    """Nothing is read but the model."""
