"""A draft of SmolLM2 with a small model in its place: it trains, and every decoder writes the same."""

import numpy as np
import torch

from common.speculative import real, real_evaluation
from common.speculative.real import RealDraftRecipe
from common.speculative.reduced import ReducedEagle3Network
from common.speculative.target import Target
from common.speculative.tree import TreePolicy
from tests.common.speculative.conftest import written

TREE = TreePolicy(depth=2, top_k=2, budget=4)


def test_rows_are_supervised_where_the_target_chose_the_next_token() -> None:
    texts = written()
    row = texts.rows()[1]
    assert row["ids"].tolist() == texts.ids[14:24].tolist()
    assert row["supervised"].tolist() == [False] * 3 + [True] * 7
    assert len(texts.written) == 50 - 20


def test_training_learns_and_the_target_stays(small: Target) -> None:
    recipe = RealDraftRecipe(kept=12, steps=30, batch=4, learning_rate=1e-2)
    before = [weight.clone() for weight in small.model.parameters()]
    checkpoint = recipe.train()
    first, last = np.mean(checkpoint.log["loss"][:3]), np.mean(checkpoint.log["loss"][-3:])
    assert last < 0.9 * first
    assert all(torch.equal(a, b) for a, b in zip(before, small.model.parameters(), strict=True))


def test_rows_that_were_read_count_where_the_likeliest_token_is_kept(small: Target) -> None:
    kept = torch.tensor([1, 2, 7])
    rows = real.read(small, written().rows(), kept)
    for row in rows:
        logits = small.model(row["ids"][None]).logits[0]
        likeliest = logits.argmax(dim=-1)
        assert not row["supervised"][~torch.isin(likeliest, kept)].any()
        last = row["states"][:, -small.hidden :]
        network = ReducedEagle3Network(small.model, kept)
        assert torch.allclose(network.kept_logits(last), logits[:, kept], atol=1e-4)


def test_acceptance_is_the_mean_over_styles(small: Target) -> None:
    values = real_evaluation.acceptance(RealDraftRecipe(kept=12).empty(), TREE, 2, 12, 2)
    for kind in ("tau0", "tau1"):
        styles = [values[f"{kind}/{style}"] for style in real_evaluation.STYLES]
        assert all(1 <= value <= 3 for value in styles)
        assert values[f"{kind}/all"] == np.mean(styles)


def test_every_decoder_writes_the_same_text(small: Target) -> None:
    network = RealDraftRecipe(kept=12).empty()
    found = real_evaluation.race(small, network, TREE, prompts=1, new=9, seed=0)
    assert set(found) == {"generate", "plain", "lookup", "eagle3", "both"}
    assert {part["same"] for part in found.values()} == {1.0}
    assert found["plain"]["tau"] == found["generate"]["speed_up"] == 1.0


def test_equal_tokens_stop_at_the_first_other_one() -> None:
    assert real_evaluation.equal_tokens(torch.tensor([1, 2, 3]), torch.tensor([1, 2, 4, 5])) == 2
    assert real_evaluation.equal_tokens(torch.tensor([1, 2]), torch.tensor([1, 2, 4])) == 2
