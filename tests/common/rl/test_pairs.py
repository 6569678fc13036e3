"""Every pair of capabilities that is allowed has a run here; every other pair is refused."""

from __future__ import annotations

from itertools import combinations

import pytest
import torch

from common.rl.capabilities import TESTED_PAIRS, active, check_pairs
from common.rl.losses import negative_log_likelihood
from common.rl.rollout import loss_mask
from common.rl.testing import assert_bitwise, timeless_log, weights
from common.rl.trainer import GroupTrainer

FIELDS = {
    "dynamic_sampling": {"dynamic_sampling_rounds": 2},
    "row_skipping": {"row_skipping": True},
    "exact_resume": {"exact_resume": True},
    "clip_cov": {"loss_variant": "clip_cov", "clip_cov_ratio": 0.1, "clip_cov_low": 0.1},
    "kl_cov": {"loss_variant": "kl_cov", "kl_cov_ratio": 0.1},
    "dual_clip": {"dual_clip": 1.5},
    "sequence_level": {"importance_sampling_level": "sequence", "loss_type": "grpo"},
    "lean_decoder": {"decoder": "lean"},
    "skip_equal_groups": {"skip_equal_groups": True},
    "length_batches": {"micro_batch_tokens": 16},
    "no_policy_loss": {"loss_variant": "none"},
}
BUNDLES = sorted(tuple(sorted(pair)) for pair in TESTED_PAIRS)
BUNDLES += [
    ("dynamic_sampling", "exact_resume", "row_skipping", "lean_decoder"),
    ("dynamic_sampling", "exact_resume", "row_skipping", "sequence_level", "dual_clip"),
    ("dynamic_sampling", "exact_resume", "lean_decoder", "clip_cov", "dual_clip"),
    ("dynamic_sampling", "exact_resume", "lean_decoder", "kl_cov"),
]


def often(completion_ids, **columns):
    return [float(sum(ids) % 5 == 0) for ids in completion_ids]


class Likelihood(GroupTrainer):
    """The objective of `loss_variant="none"`: the log-likelihood of rewarded completions."""

    def extra_loss(self, log_probs, entropies, batch):
        if self.args.loss_variant != "none":
            return None
        return negative_log_likelihood(log_probs, loss_mask(batch) * (batch["advantages"] > 0)[:, None])


def switched_on(names):
    fields = {"max_steps": 6, "optim": "sgd", "learning_rate": 0.3, "reward": often, "kind": Likelihood}
    for name in names:
        fields |= FIELDS[name]
    return fields


@pytest.mark.parametrize("names", BUNDLES, ids="+".join)
def test_together(build, trained, tmp_path, names):
    """Each keeps its promise beside the others: row skipping its gradient, resume its zero difference."""
    fields = switched_on(names)
    whole, log = trained(**{**fields, "exact_resume": False})
    if "row_skipping" in names:
        unskipped, _ = trained(**{**fields, "row_skipping": False, "exact_resume": False})
        for name, value in unskipped.items():
            torch.testing.assert_close(whole[name], value, rtol=1e-3, atol=1e-5)
    if "exact_resume" in names:
        saving = {**fields, "save_strategy": "steps", "save_steps": 3, "output_dir": str(tmp_path / "run")}
        build(**{**saving, "max_steps": 3}).train()
        resumed = build(**saving)
        resumed.train(resume_from_checkpoint=True)
        assert_bitwise(weights(resumed), whole)
        assert timeless_log(resumed) == log
    if "dynamic_sampling" in names:
        assert log[0]["rollouts/generated"] > 16
    assert any(entry["grad_norm"] > 0 for entry in log)


def test_the_table_names_every_allowed_pair():
    for pair in combinations(FIELDS, 2):
        if frozenset(pair) in TESTED_PAIRS:
            check_pairs(pair)
        else:
            with pytest.raises(ValueError, match=f"'{pair[0]}' and '{pair[1]}' cannot be combined"):
                check_pairs(pair)
    assert frozenset().union(*TESTED_PAIRS) == frozenset(FIELDS)


@pytest.mark.parametrize("name", FIELDS)
def test_fields_switch_on_one_capability(build, name):
    assert active(build(**FIELDS[name]).args) == (name,)


def test_the_reason_is_given():
    with pytest.raises(ValueError, match="needs the log-probabilities of every row"):
        check_pairs(("row_skipping", "kl_cov"))
