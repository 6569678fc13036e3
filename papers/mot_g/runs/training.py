"""Pocket policies that learn to think on graphs, one arm with one seed, evaluated in the arm's own mode.

An evaluation writes thoughts as training does and measures them at the same positions in every arm: those of
the thoughts, the end of thinking included.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase, set_seed

from common.models.pocket import load_policy
from common.models.stepwise import decode
from common.models.thoughts import measure
from common.rl.harness import Curve, logged_series, make_trainer, policy_path, shared_arguments
from common.rl.resume import latest_complete_checkpoint
from common.rl.run import Run
from common.rl.tasks import load_task
from common.study.errors import unknown
from common.study.jobs import Job, Record
from common.tasks.reach import Item
from common.tasks.reach.evaluation import first_hops
from papers.mot_g.method import Mixing, MoTGConfig, MoTGTrainer, Thinking

GREEDY = 0.02  # a temperature at which the likeliest token is drawn
DIRICHLET: dict[str, Any] = {"motg_selector": "top_k", "motg_aggregator": "dirichlet"}
ARMS: dict[str, dict[str, Any]] = {
    "vanilla": {"motg_tokens": 1},
    "hot": {"motg_tokens": 1},
    "bonus": {"motg_tokens": 1},
    "different": {},
    "corrected": {"motg_surrogate": "plackett_luce"},
    "dirichlet": DIRICHLET,
    "top_k": {
        **DIRICHLET,
        "motg_read": "token",
        "motg_aggregator": "probability",
        "motg_surrogate": "single",
    },
    "shuffled": {"motg_read": "random_partners"},
    "visible": {"motg_read": "token", "motg_surrogate": "single"},
}
"""Arms as fields of `MoTGConfig`: GRPO ("vanilla"), GRPO at a temperature that matches the entropy of
Different Tokens ("hot") or with an entropy bonus, the variants, Different Tokens with the likelihood of
ordered draws ("corrected"), GRPO on the top k, mixtures whose partners are random tokens ("shuffled"), and GRPO
that draws its tokens as mixtures draw their visible one, which is sharper, and reads them alone ("visible")."""  # noqa: E501
MODES: dict[str, dict[str, Any]] = {
    "different": {"tokens": 2},
    "dirichlet": {"tokens": 2, "selector": "top_k", "aggregator": "dirichlet"},
    "soft": {"tokens": 2, "selector": "top_k"},
    "visible": {"tokens": 2, "read": "token"},
    "greedy": {"temperature": GREEDY},
}
"""How the policy of GRPO is also decoded when it is trained: as mixtures that it was not trained on."""


def train(job: Job, workspace: Path) -> Record:
    """Entry point: one arm with one seed.

    Config: the fields of `Run`, `arm`, `tokens` (k), `temperature`, `entropy_bonus`.

    Emits ``final/<name>`` and series ``curve/<name>`` over evaluation points, names as of `Thoughts`, and
    ``base/accuracy``, that of the base policy on the final walks: same prompts, random numbers and number. Of
    GRPO also ``curve/noise_<name>`` (read with Gaussian noise as large as a mixture's displacement) and
    ``final/<mode>_accuracy`` for each of `MODES`. Series over rollout batches: ``reward``, ``grad_norm``.

    Raises:
        StudyError: unknown arm.
    """
    (seed,) = job.seeds
    run, args = Run.read(job.config), training_arguments(job.config, job.seeds[0], workspace)
    set_seed(seed)
    model, tokenizer = load_policy(policy_path(run, seed))
    task = load_task(run, seed, tokenizer)
    modes = {"": args.mixing}
    if job.config["arm"] == "vanilla":
        modes["noise_"] = replace(args.mixing, tokens=2, read="noise")
    measured = Thoughts(task, modes)
    base = Thoughts(task, {"": args.mixing}).evaluate(
        model.eval(), tokenizer, run.evaluation_samples, seed * 1_000_003 + run.iterations
    )
    curve = Curve(measured, run, seed, workspace, tokenizer)  # type: ignore[arg-type]  # it only evaluates
    training = make_trainer(MoTGTrainer, args, model, tokenizer, task, curve)
    training.train(resume_from_checkpoint=latest_complete_checkpoint(workspace))
    scalars = curve.point(run.iterations)
    if job.config["arm"] == "vanilla":
        decoders = {name: replace(args.mixing, **options) for name, options in MODES.items()}
        final = Thoughts(task, {f"{name}_": mixing for name, mixing in decoders.items()})
        found = final.evaluate(training.model.eval(), tokenizer, run.evaluation_samples, seed)
        scalars |= {name: value for name, value in found.items() if name.endswith("accuracy")}
    return Record(
        {
            "base/accuracy": np.array([base["accuracy"]]),
            **{f"final/{name}": np.array([value]) for name, value in scalars.items()},
        },
        {**logged_series(training.state.log_history, LOGGED), **curve.series()},
    )


LOGGED: Mapping[str, str] = {"reward": "reward", "grad_norm": "grad_norm"}


def training_arguments(config: Mapping[str, Any], seed: int, workspace: Path) -> MoTGConfig:
    """The arm as a trainer configuration; the KL term has one weight in all arms."""
    if config["arm"] not in ARMS:
        raise unknown("arm", config["arm"], ARMS)
    run = Run.read(config)
    fields = {
        **shared_arguments(run, seed, workspace),
        "temperature": config["temperature"],
        "motg_tokens": config["tokens"],
        "motg_kl": run.kl_coefficient,
        **ARMS[config["arm"]],
    }
    if fields["motg_tokens"] == 1 and "motg_selector" not in fields:
        fields |= {"loss_type": "grpo", "entropy_coef": config["entropy_bonus"]}
    else:
        fields["beta"] = 0.0
    return MoTGConfig(**fields)


class Thoughts:
    """The task's held-out prompts, answered in several modes and measured.

    Args:
        task: Whose prompts: `Reach` or `GraphColor`.
        modes: Prefix of the measures' names to how thoughts are made.
    """

    def __init__(self, task: Any, modes: Mapping[str, Mixing]) -> None:
        self.task, self.modes = task, modes
        self.models, self.dataset, self.reward = task.models, task.dataset, task.reward

    def evaluate(
        self, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, samples: int, seed: int
    ) -> dict[str, float]:
        """Measures of `samples` responses to each held-out graph, by mode."""
        return {
            f"{prefix}{name}": value
            for prefix, mixing in self.modes.items()
            for name, value in self._measured(model, tokenizer, mixing, samples, seed).items()
        }

    def _measured(
        self,
        model: PreTrainedModel,
        tokenizer: PreTrainedTokenizerBase,
        mixing: Mixing,
        samples: int,
        seed: int,
    ) -> dict[str, float]:
        graphs = [item for item in self.task.heldout for _ in range(samples)]
        encoded = tokenizer([item.prompt for item in graphs], return_tensors="pt", padding=True)
        generator = torch.Generator(model.device).manual_seed(seed)
        end = [tokenizer.get_vocab()[MoTGConfig.motg_end]]
        last = int(model.config.num_hidden_layers)
        decoded = decode(
            model,
            encoded["input_ids"].to(model.device),
            encoded["attention_mask"].to(model.device),
            self.task.run.max_response,
            Thinking(mixing, end, len(graphs), len(tokenizer), generator),
            tokenizer.eos_token_id,
            tokenizer.pad_token_id,
            taps=(last,),
        )
        rows = zip(decoded.ids.tolist(), decoded.mask.sum(dim=1).tolist(), graphs, strict=True)
        scores = [
            self.task.score([self.task.vocabulary[token] for token in ids[:length]], item)
            for ids, length, item in rows
        ]
        hops = first_hops(decoded, graphs) if isinstance(graphs[0], Item) else {}
        return {"accuracy": float(np.mean(np.array(scores) == 1)), **hops, **measure(decoded, last)}
