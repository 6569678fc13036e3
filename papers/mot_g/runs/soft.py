"""SmolLM2 goes on with stories and reads mixtures that it was never trained on."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch

from common.models.frozen_thoughts import think
from common.models.pretrained import load_smollm2
from common.models.recipe import Policy
from common.models.subject import Subject
from common.study.jobs import Job, Record
from common.tasks.dark_turns import Openings
from papers.mot_g.method import Mixing, MoTGConfig, Read, Thinking

WAYS: dict[str, dict[str, Any]] = {
    "soft": {"selector": "top_k"},
    "dirichlet": {"selector": "top_k", "aggregator": "dirichlet"},
    "different": {},
}
READS: tuple[Read, ...] = ("mixture", "token")
SALT = 0x50F7


def stories(job: Job, _workspace: Path) -> Record:
    """Entry point: one seed's openings, continued in every way; all that is written is a thought.

    Config: `prompts` (openings), `tokens` (of a continuation), `candidates` (the k), `temperature`.

    Emits by ``arm`` (the way to mix) and ``read`` (the mixture, or its visible token alone) the measures of
    `common.models.frozen_thoughts.think`, series over k.
    """
    (seed,), own = job.seeds, job.config
    subject = Subject(Policy(*load_smollm2()), Openings(), int(own["tokens"]), ())
    given = Openings().prompts(int(own["prompts"]), np.random.default_rng([seed, SALT]))
    words, temperature = subject.policy.tokenizer, float(own["temperature"])
    end = words(MoTGConfig.motg_end, add_special_tokens=False)["input_ids"]
    parts, measured = [], dict[Mixing, dict[str, float]]()
    for way, options in WAYS.items():
        for read in READS:
            found = []
            for k in own["candidates"]:
                only: Read = read if k > 1 else "token"  # which is the mixture of one
                mixing = Mixing(k, temperature=temperature, read=only, **options)
                if mixing not in measured:
                    generator = torch.Generator().manual_seed(seed)
                    hook = Thinking(mixing, end, len(given), len(words), generator)
                    measured[mixing] = think(subject, given, hook)
                found.append(measured[mixing])
            series = {name: np.array([[one[name] for one in found]]) for name in found[0]}
            parts.append(({"arm": way, "read": read}, Record(series=series)))
    return Record(parts=parts)
