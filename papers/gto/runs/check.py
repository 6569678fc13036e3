"""Is the target worth drafting for? What it has learnt, measured on held-out problems."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from common.speculative.generate import SpeculativeGenerator
from common.speculative.target import Target
from common.speculative.verify import SamplingParams
from common.study.jobs import Job, Record
from common.tasks.tridomain import DOMAINS, Item, items
from common.tasks.tridomain.warm_start import corpus, encode, load, texts, tokenizer
from papers.gto.runs.evaluation import HELDOUT_SEED
from papers.gto.runs.training import read_recipe


def target(job: Job, _workspace: Path) -> Record:
    """Entry point: accuracy of the next answer token and entropy by domain; share of right sums, decoded.

    Config: the recipe (`arms.read_recipe`), `conversations` per domain.
    """
    torch.set_num_threads(1)
    model = load(read_recipe(job.config, job.seeds[0]).draft.target)
    drawn = items(corpus(HELDOUT_SEED, 3 * int(job.config["conversations"]), "heldout"))
    values: dict[str, float] = {"parameters": float(model.num_parameters())}
    for domain in DOMAINS:
        chosen = [item for item in drawn if item.domain == domain]
        batch = texts(chosen)
        with torch.no_grad():
            logits = model(input_ids=batch.ids).logits[:, :-1]
        answered = batch.supervised[:, :-1]
        right = (logits.argmax(dim=-1) == batch.ids[:, 1:])[answered]
        log_p = torch.log_softmax(logits, dim=-1)[answered]
        values[f"accuracy/{domain}"] = float(right.float().mean())
        values[f"entropy/{domain}"] = float(-(log_p.exp() * log_p).sum(dim=-1).mean())
        if domain == "math":
            values["verified/math"] = _verified(Target(model), chosen)
    return Record({name: np.array([value]) for name, value in values.items()})


def _verified(model: Target, chosen: list[Item]) -> float:
    words = tokenizer()
    params = SamplingParams(64, temperature=0.0, eos_ids=(words.eos_token_id,))
    found = SpeculativeGenerator(model).generate([encode(item.prompt) for item in chosen], params).tokens
    answers = [tuple(words.convert_ids_to_tokens(answer.tolist())) for answer in found]
    return float(np.mean([item.correct(answer) for item, answer in zip(chosen, answers, strict=True)]))
