"""What the model card of every trainer owes its readers."""

from pathlib import Path

from transformers import Trainer


def check_model_card(trainer: Trainer, *words: str) -> str:
    """Write a trainer's model card and hold it to its method's words; returns its text.

    Raises:
        AssertionError: a word is missing, or the card cites the paper of the trainer's parent.
    """
    trainer.create_model_card(model_name="x")
    card = Path(trainer.args.output_dir, "README.md").read_text(encoding="utf-8")
    assert [word for word in words if word not in card] == []
    assert "DeepSeekMath" not in card
    return card
