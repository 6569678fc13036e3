"""Greedy decoding with a draft writes what plain decoding writes (claim C10)."""

from __future__ import annotations

from copy import deepcopy
from pathlib import Path

import numpy as np
import torch

from common.models.recipe import ModelShape, build_model
from common.speculative.drafts import SmallLMDraft
from common.speculative.generate import SpeculativeGenerator
from common.speculative.scheduler import StaticScheduler
from common.speculative.target import Target
from common.speculative.tree import TreePolicy
from common.speculative.verify import SamplingParams
from common.study.jobs import Job, Record
from papers.gto.target import tokenizer

NOISE = 1.0  # of the draft's weights, relative to their spread; it keeps about half of the acceptance
SHAPE = ModelShape(hidden=32, layers=3, heads=2, kv_heads=1, head_dim=16, ffn=64, context=512, tied=True)


def greedy(job: Job, _workspace: Path) -> Record:
    """Token by token in float64, on a random model whose draft is a noisy copy of it.

    Config: `prompts`, `tokens` (of each completion). Emits `differs`, 1 for each token that is another one,
    and `tau`, tokens per cycle.
    """
    torch.set_num_threads(1)
    (seed,) = job.seeds
    draws = torch.Generator().manual_seed(seed)
    model = build_model(SHAPE, tokenizer(), seed).double().requires_grad_(False)
    copy = deepcopy(model)
    for weight in copy.parameters():
        noise = torch.randn(weight.shape, generator=draws, dtype=weight.dtype)
        weight.add_(NOISE * weight.std() * noise)
    params = SamplingParams(int(job.config["tokens"]), temperature=0.0)
    lengths = torch.randint(2, 20, (int(job.config["prompts"]),), generator=draws)
    prompts = [torch.randint(5, len(tokenizer()), (int(length),), generator=draws) for length in lengths]
    plain = SpeculativeGenerator(Target(model)).generate(prompts, params)
    scheduler = StaticScheduler(TreePolicy(4, 3, 16))
    drafted = SpeculativeGenerator(Target(model), SmallLMDraft(copy), scheduler).generate(prompts, params)
    differs = torch.cat(plain.tokens) != torch.cat(drafted.tokens)
    return Record(
        {"tau": np.array([drafted.stats.acceptance_length])}, {"differs": differs.double().numpy()[None]}
    )
