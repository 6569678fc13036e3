"""Worlds of the template space: the codec, placed episodes, and demonstrations that are learned from."""

import numpy as np
import pytest
import rdkit

from common.agents.lockstep import play
from common.models.recipe import IGNORED, ModelShape, build_model
from common.rl.rollout import derived_generator
from common.study.errors import StudyError
from common.tasks.molecules import warm_start
from common.tasks.molecules.environment import CLOSE
from common.tasks.molecules.warm_start import Recipe, Setting

SETTING = Setting(
    "templates", "logp", train_leads=2, test_leads=2, hardness=0, budget=150, rdkit=rdkit.__version__
)
RECIPE = Recipe(SETTING, turns=3, demonstrations=6, sft_steps=2, sft_batch=2, hidden=16, layers=1)


@pytest.fixture(scope="module")
def words():
    return warm_start.tokenizer(SETTING.space)


def test_leads_can_be_improved_and_splits_differ():
    train, test = SETTING.leads("train"), SETTING.leads("test")
    assert all(lead.witness for lead in (*train, *test))
    assert not {lead.smiles for lead in train} & {lead.smiles for lead in test}


def test_a_world_that_is_not_there_is_named():
    with pytest.raises(StudyError, match="world"):
        Setting("zinc", "logp", 1, 1, 0, 25, "").space  # noqa: B018 - a property


def test_a_demonstration_edits_what_the_environment_shows():
    rng = np.random.default_rng(0)
    lead = SETTING.leads("train")[0]
    design = lead.design
    assert warm_start.current(" ".join(["lead", *design, "now", *design, "t1", "<mol>"])) == design
    for _ in range(20):
        new = warm_start.edited(SETTING.space, lead, design, rng)
        assert sum(old != token for old, token in zip(design, new, strict=True)) <= 2


def test_only_admissible_or_rewarded_proposals_are_learned(words):
    episodes = warm_start.demonstrate(RECIPE, 0)
    assert len(episodes) == 6
    for episode in episodes:
        texts = [text for text, learned in episode if learned]
        assert all(text.endswith(CLOSE) for text in texts)
        assert not episode[0][1]
    encoded = [[(words.encode(text), learned) for text, learned in episode] for episode in episodes]
    ids, labels = warm_start.batched(encoded, 0)
    assert ((labels == ids) | (labels == IGNORED)).all()
    learned = sum(len(part) for episode in encoded for part, own in episode if own)
    assert int((labels != IGNORED).sum()) == learned > 0


def test_episodes_play_on_the_lead_and_are_told(words):
    model = build_model(ModelShape(16, 1, 2, 32, context=192), words, seed=0)
    leads, bench = SETTING.leads("test"), SETTING.bench(7)
    told = []
    place = warm_start.world(SETTING.space, bench, leads, 3, 1, told=told)
    played = play(model, [place], warm_start.codec(words), warm_start.rules(words, 3), [derived_generator(0)])
    assert len(played[0].turns) == len(told) > 0
    assert played[0].outcome in ("terminated", "truncated")
    assert all(CLOSE not in design for design, _ in told)
