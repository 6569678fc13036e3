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
from common.tasks.graph_color import COLOURS, END, EOS, LIMIT, LINKED, THINK, VERTICES, VOCABULARY, Item
from common.tasks.graph_color.training import GraphColor
from common.tasks.graph_color.warm_start import BaseConfig, _link, batches, build_model

pytest.importorskip("reasoning_gym", exc_type=ImportError)
GRAPHS = list(islice(graph_color.stream("train", 1), 200))


def proper(item, colours):
    """Whether no edge joins equal colours."""
    return all(colours[begin] != colours[end] for begin, end in item.edges)


def told(colours):
    """Tokens of an answer."""
    return [END, *(word for pair in zip(VERTICES, colours, strict=False) for word in pair), EOS]


def test_words_say_what_the_question_says():
    for item in GRAPHS:
        puzzle = item.entry["metadata"]["puzzle"]
        assert str(puzzle["edges"]) in item.entry["question"]
        words = item.prompt.split()
        assert set(words) <= set(VOCABULARY)
        assert words[-1] == THINK
        linked = [LINKED[word] for word in words[1:-1]]
        assert [vertex for vertex, *_ in linked] == list(VERTICES[: len(puzzle["vertices"])])
        assert {(vertex, other) for vertex, *others in linked for other in others} == {
            (VERTICES[a], VERTICES[b]) for edge in puzzle["edges"] for a, b in (edge, reversed(edge))
        }


def test_the_verifier_accepts_colourings_and_its_own_answer_and_nothing_else():
    for item in GRAPHS[:10]:
        for colours in product(COLOURS, repeat=item.vertices):
            own = 1.0 if proper(item, colours) else 0.01
            assert graph_color.score(told(colours), item) == own
        known = item.entry["metadata"]["possible_answer"]
        assert graph_color.score(told(str(known[vertex]) for vertex in range(item.vertices)), item) == 1.0


@pytest.mark.parametrize(
    ("response", "found"),
    [
        ("v0:1 1 </think> v0 1 v1 2 <eos>", {"0": 1, "1": 2}),
        ("</think> v1 3 <eos>", {"1": 3}),
        ("</think> <eos>", {}),
        ("v0 1 </think> v0 1", None),
        ("v0 1 <eos>", None),
        ("</think> v0 1 </think> v0 1 <eos>", None),
        ("</think> v0 1 v1 <eos>", None),
        ("</think> 1 v0 <eos>", None),
        ("", None),
    ],
)
def test_an_answer_is_a_map_behind_one_end_of_thinking(response, found):
    text = graph_color.answer(response.split())
    assert (text and json.loads(text)) == found


def test_an_answer_that_is_too_short_is_no_colouring():
    item = Item(4, (), GRAPHS[0].entry)
    assert graph_color.score(told("1"), item) == 0.01
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
            thoughts, answer = words[: 2 * item.vertices], words[2 * item.vertices + 1 :]
            assert set(thoughts[::2]) == set(item.prompt.split()[1:-1])
            given = dict(zip((word[:2] for word in thoughts[::2]), thoughts[1::2], strict=True))
            assert [word for pair in sorted(given.items()) for word in pair] == answer
            orders.add(tuple(given))
            right.append(proper(item, answer[1::2]))
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
        assert set(words[: words.index(END)]) <= {*LINKED, *COLOURS}
        begin = int((label != IGNORED).nonzero()[0, 0])
        assert VOCABULARY[int(row[begin - 1])] == THINK


def test_a_linked_vertex_begins_as_what_it_is_made_of():
    tokenizer = build_tokenizer(VOCABULARY, graph_color.PAD, graph_color.BOS, EOS)
    model = build_model(BaseConfig().model, tokenizer, 0)
    _link(model, tokenizer)
    vectors, index = model.get_input_embeddings().weight, tokenizer.get_vocab()
    turned = (vectors[index["v0"]] + vectors[index["v4"]]).roll(vectors.shape[1] // 2)
    assert torch.allclose(vectors[index["v2:04"]], vectors[index["v2"]] + turned)


def test_another_vocabulary_is_refused():
    tokenizer = build_tokenizer(
        (graph_color.PAD, graph_color.BOS, EOS), graph_color.PAD, graph_color.BOS, EOS
    )
    with pytest.raises(StudyError, match="MODEL"):
        GraphColor(None, 0, tokenizer)
