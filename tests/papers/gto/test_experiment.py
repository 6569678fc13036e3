"""The study's configuration, Phase I and Phase II end to end at the size of a test, and equal budgets."""

import pytest
import torch

from common.speculative.texts import read_texts
from common.speculative.unroll import unroll_text
from common.study.card import load_card
from common.study.configuration import configure
from common.study.errors import StudyError
from papers.gto.experiment import PROFILES, Config, jobs
from papers.gto.runs import drafts, training
from papers.gto.runs.drafts import DraftRecipe, aligned, new_network
from papers.gto.runs.training import TuneRecipe, read_recipe

CARD = load_card("gto")
TRAINED = ("main", "inits", "aggregators", "sizes", "debias")


@pytest.mark.parametrize("profile", ["laptop", "gpu"])
def test_every_sweep_of_the_card_has_jobs(profile):
    found = {job.sweep for job in jobs(configure(Config, PROFILES, profile), CARD.seeds.judged)}
    assert CARD.needs() == found


def test_the_papers_own_scale_is_an_error_that_says_what_to_do():
    with pytest.raises(StudyError, match="GTOTrainer with a model of your own"):
        jobs(Config(), CARD.seeds.judged)


def test_judged_seeds_only_and_no_job_twice():
    found = jobs(configure(Config, PROFILES, "laptop"), CARD.seeds.judged)
    assert {seed for job in found for seed in job.seeds} <= set(CARD.seeds.judged)
    assert len({(job.sweep, *job.labels.values(), job.seeds) for job in found}) == len(found)


def test_arms_train_on_as_many_prefixes_and_steps_from_the_same_draft():
    plans: dict = {}
    for job in jobs(configure(Config, PROFILES, "laptop"), CARD.seeds.judged):
        if job.sweep not in TRAINED or job.config["arm"] == "untuned":
            continue
        recipe = read_recipe(job.config, job.seeds[0])
        if recipe.omega:
            prefixes = recipe.batch * recipe.groups * recipe.group_size
            plans.setdefault(recipe.draft, []).append((prefixes, recipe.steps, recipe.learning_rate))
        elif job.config["arm"] == "continual":
            plans.setdefault(recipe.draft, []).append(
                (32, recipe.steps, Config(**PROFILES["laptop"]).gto_rate)
            )
    assert plans
    assert all(len(set(plan)) == 1 for plan in plans.values())


def test_recipes_survive_the_way_through_a_jobs_configuration():
    job = next(
        job for job in jobs(configure(Config, PROFILES, "laptop"), (7,)) if job.config.get("arm") == "flipped"
    )
    recipe = read_recipe(job.config, 7)
    assert (recipe.control, recipe.draft.seed, recipe.draft.kind) == ("flipped", 7, "eagle3")
    assert recipe.draft.target.layers == Config().target_layers


def test_aligned_steps_follow_a_proposed_token(monkeypatch, target, draft, batch):
    text = read_texts(target, batch.ids)
    unrolled = unroll_text(draft, text.ids, text.features, text.logits, batch.supervised, 3)
    mask = aligned(unrolled, batch.ids)
    assert torch.equal(mask[:, :, 0], unrolled.mask[:, :, 0])
    for row, entry, step in unrolled.mask[:, :, 1:].nonzero()[::7].tolist():
        top = unrolled.unrolled.logits[row, entry, step].topk(3).indices.tolist()
        assert bool(mask[row, entry, step + 1]) is (int(batch.ids[row, entry + 2 + step]) in top)


@pytest.fixture
def small(monkeypatch, tmp_path) -> dict:
    monkeypatch.setenv("REPRISE_STORE", str(tmp_path / "store"))
    drafts.target_for.cache_clear()
    config = Config(**PROFILES["smoke"] | {"target_steps": 2, "target_hidden": 32, "target_ffn": 32})
    return {job.labels["arm"]: job for job in jobs(config, (0,)) if job.sweep in ("main", "oracle")}


def test_phase_one_and_two_end_to_end(small):
    records = {
        arm: small[arm].function()(small[arm], None) for arm in ("untuned", "gto", "continual", "oracle")
    }
    for record in records.values():
        assert 1.0 <= record.scalars["tau1/all"][0] <= 4.0
    assert records["gto"].series["grad_norm"].shape == (1, 2)
    assert "reward" not in records["continual"].series
    again = training.evaluate(small["gto"], None)
    assert again.scalars == records["gto"].scalars  # from the weights on disk


@pytest.mark.parametrize("kind", drafts.KINDS)
def test_every_kind_of_draft_learns(small, kind):
    recipe = read_recipe({**small["untuned"].config, "draft_kind": kind}, 0).draft
    batch = drafts.stacked(drafts.training_texts(8))
    target = drafts.target_for(recipe.target, kind)
    network = new_network(recipe)
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-2)
    unmasked = "eagle" if kind == "griffin" else kind  # GRIFFIN's own loss counts more steps as it learns
    start = drafts.token_loss(unmasked, network, target, batch, 2).item()
    for _ in range(8):
        optimizer.zero_grad()
        drafts.token_loss(kind, network, target, batch, 2).backward()
        optimizer.step()
    assert drafts.token_loss(unmasked, network, target, batch, 2).item() < start


def test_the_seed_decides_the_draft():
    recipe = TuneRecipe(draft=DraftRecipe(seed=3))
    assert recipe.draft != DraftRecipe(seed=4)
