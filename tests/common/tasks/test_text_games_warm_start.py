"""Demonstrations as token ids, and actions back."""

import torch

from common.models.recipe import IGNORED
from common.tasks.text_games.coin import VOCABULARY, Demonstration
from common.tasks.text_games.warm_start import CODEC, CONTEXT, IDS, RULES, padded, tokenizer, written

SHORT = Demonstration((("kitchen", "coin"),), ("take coin",), True)
LONG = Demonstration(
    (("kitchen", "north", "closed"), ("kitchen", "coin")), ("open door to north", "take coin"), True
)


def words(ids):
    return " ".join(VOCABULARY[token] for token in ids)


def test_an_episode_reads_as_it_is_played():
    ids, own = written(LONG)
    text = "<bos> kitchen north closed open door to north <eos> kitchen coin take coin <eos>"
    assert words(ids) == text
    assert words(token for token, mine in zip(ids, own, strict=True) if mine) == (
        "open door to north <eos> take coin <eos>"
    )
    assert tokenizer()(text)["input_ids"] == ids


def test_only_the_policys_own_words_are_taught():
    ids, labels = padded([SHORT, LONG])
    assert ids.shape == labels.shape
    assert words(ids[0]).endswith("<eos> <pad> <pad> <pad> <pad> <pad> <pad> <pad> <pad>")
    assert words(labels[0][labels[0] != IGNORED]) == "take coin <eos>"
    assert torch.equal(labels[1][labels[1] != IGNORED], ids[1][torch.tensor(written(LONG)[1]).bool()])


def test_an_action_is_the_text_before_the_end():
    said = [IDS[word] for word in ("open", "door", "to", "north", "<eos>")]
    assert CODEC.action(said) == "open door to north"
    assert CODEC.action(said[:-1]) == "open door to north"
    assert CODEC.observation("You are in the kitchen. \nTo the West you see the corridor. ") == [
        IDS[word] for word in ("kitchen", "west", "corridor")
    ]


def test_the_longest_episode_fits_into_the_context():
    reading = 2 + 2 * 4 + 1  # nothing, the room, four exits, the coin
    assert 1 + RULES.turns * (reading + RULES.turn_tokens) <= CONTEXT
