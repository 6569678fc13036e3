"""Openings of stories and their turns."""

import numpy as np
import pytest

from common.tasks.dark_turns import DARK, OPENINGS, Openings


def test_openings_differ_and_hold_no_dark_word():
    given = Openings().prompts(OPENINGS, np.random.default_rng(0))
    assert len(set(given)) == OPENINGS
    assert Openings().onset([[prompt.text] for prompt in given]).max() == -1
    assert len(set(DARK)) == len(DARK)
    with pytest.raises(ValueError, match="openings, not"):
        Openings().prompts(OPENINGS + 1, np.random.default_rng(0))


def test_the_turn_is_the_token_that_completes_a_word():
    texts = [
        [" the", " st", "orm", " came"],
        [" Lost", " things"],
        [" stormy", " days"],
        [" a", " pain", "ter"],
    ]
    assert Openings().onset(texts).tolist() == [2, 0, -1, -1]
