"""Questions are Reasoning Gym's, the words say the same, and its verifier knows a colouring."""

import json
from itertools import islice, product

import numpy as np
import pytest
import torch

from common.models.pocket import build_tokenizer
from common.models.recipe import IGNORED
from common.study.errors import StudyError
from common.tasks import graph_color
from common.tasks.graph_color import COLOURS, END, EOS, LIMIT, THINK, THOUGHTS, VERTICES, VOCABULARY, Item
from common.tasks.graph_color.training import GraphColor
from common.tasks.graph_color.warm_start import BaseConfig, _link, batches, build_model

pytest.importorskip("reasoning_gym", exc_type=ImportError)
GRAPHS = list(islice(graph_color.stream("train", 1), 200))


def proper(item, colours):
    """Whether no edge joins equal colours."""
    return all(colours[begin] != colours[end] for begin, end in item.edges)


def test_words_say_what_the_question_says():
    for item in GRAPHS:
        puzzle = item.entry["metadata"]["puzzle"]
        assert str(puzzle["edges"]) in item.entry["question"]
        words = item.prompt.split()
        assert set(words) <= set(VOCABULARY)
        assert words[-1] == THINK
        assert words[1 : 1 + item.vertices] == list(VERTICES[: len(puzzle["vertices"])])
        pairs = {tuple(word.split(">")) for word in words if ">" in word[2:] and word[0] == "v"}
        assert pairs == {
            (VERTICES[a], VERTICES[b]) for edge in puzzle["edges"] for a, b in (edge, reversed(edge))
        }


def test_the_verifier_accepts_colourings_and_its_own_answer_and_nothing_else():
    for item in GRAPHS[:10]:
        for colours in product(COLOURS, repeat=item.vertices):
            own = 1.0 if proper(item, colours) else 0.01
            assert graph_color.score([END, *colours, EOS], item) == own
        known = item.entry["metadata"]["possible_answer"]
        assert graph_color.score([END, *(str(known[v]) for v in range(item.vertices)), EOS], item) == 1.0


@pytest.mark.parametrize(
    ("response", "found"),
    [
        ("v0=1 </think> 1 2 <eos>", {"0": 1, "1": 2}),
        ("</think> 3 <eos>", {"0": 3}),
        ("v0=1 </think> 1 2", None),
        ("1 2 <eos>", None),
        ("</think> 1 </think> 2 <eos>", None),
        ("</think> 1 v0 <eos>", None),
        ("</think> <eos>", None),
        ("", None),
    ],
)
def test_an_answer_is_a_map_of_colours_behind_one_end_of_thinking(response, found):
    text = graph_color.answer(response.split())
    assert (text and json.loads(text)) == found


def test_an_answer_that_is_too_short_is_no_colouring():
    item = Item(4, (), GRAPHS[0].entry)
    assert graph_color.score([END, "1", EOS], item) == 0.01
    assert graph_color.score([], item) == 0.0


def test_splits_are_apart_whatever_the_seed_and_seeds_share_no_question():
    held = set(graph_color.heldout(200))
    assert len(held) == 200
    assert not held & set(GRAPHS)
    assert graph_color.heldout(50) == graph_color.heldout(200)[:50]
    first, second = graph_color.questions(1), graph_color.questions(2)
    assert first.seed + graph_color.SPACING <= second.seed
    assert [item.prompt for item in islice(graph_color.stream("train", 2), 20)] != [
        item.prompt for item in GRAPHS[:20]
    ]
    with pytest.raises(ValueError, match="held-out"):
        graph_color.heldout(LIMIT + 1)


def test_demonstrations_are_greedy_and_slip():
    rng, rates, orders = np.random.default_rng(0), {}, set()
    for slips in (0.0, 1.0):
        right = []
        for item in GRAPHS:
            words = graph_color.write(item, rng, slips).split()
            thoughts, answer = words[: item.vertices], words[item.vertices + 1 :]
            assert set(thoughts) <= set(THOUGHTS)
            assert sorted(thoughts) == [
                f"{v}={c}" for v, c in zip(VERTICES[: item.vertices], answer, strict=True)
            ]
            orders.add(tuple(word[:2] for word in thoughts))
            right.append(proper(item, answer))
        rates[slips] = np.mean(right)
    assert rates[0.0] > 0.8
    assert rates[1.0] < 0.35
    assert len(orders) > 50


def test_labels_hold_the_response_alone():
    tokenizer = build_tokenizer(VOCABULARY, graph_color.PAD, graph_color.BOS, EOS)
    ids, labels = next(batches(BaseConfig(batch=6), tokenizer))
    for row, label in zip(ids, labels, strict=True):
        words = tokenizer.convert_ids_to_tokens(row[label != IGNORED])
        assert words[-1] == EOS
        assert set(words[: words.index(END)]) <= set(THOUGHTS)
        begin = int((label != IGNORED).nonzero()[0, 0])
        assert VOCABULARY[int(row[begin - 1])] == THINK


def test_a_thought_begins_as_its_vertex_and_its_colour():
    tokenizer = build_tokenizer(VOCABULARY, graph_color.PAD, graph_color.BOS, EOS)
    model = build_model(BaseConfig().model, tokenizer, 0)
    _link(model, tokenizer)
    vectors, index = model.get_input_embeddings().weight, tokenizer.get_vocab()
    half = vectors.shape[1] // 2
    for word, plain, turned in (("v1=3", "v1", "3"), ("v0>v4", "v4", "v0")):
        own = vectors[index[plain]] + vectors[index[turned]].roll(half)
        assert torch.equal(vectors[index[word]], own)


def test_another_vocabulary_is_refused():
    tokenizer = build_tokenizer(
        (graph_color.PAD, graph_color.BOS, EOS), graph_color.PAD, graph_color.BOS, EOS
    )
    with pytest.raises(StudyError, match="MODEL"):
        GraphColor(None, 0, tokenizer)
