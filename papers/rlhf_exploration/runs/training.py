"""A language model small enough to enumerate, trained online with the loss of `method`.

A two-layer Qwen3 writes responses of L tokens over 8 symbols; all 8^L log-probabilities come from one
forward pass over the prefixes of L - 1 symbols, so value, KL, regret and the bonus are exact. A table of
logits in the model's place separates what the optimiser misses from what the algorithm misses.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from common.models.pocket import build_tokenizer
from common.models.recipe import ModelShape, build_model
from common.preference.bradley_terry import first_wins
from common.preference.tabular import draw, gibbs_policy, kl
from common.study.jobs import Job, Record
from papers.rlhf_exploration.method import PROTOCOLS, optimistic_dpo_loss

SYMBOLS = 8
RARE = (6, 7)  # first symbols of the two good families of the "rare" instance
RARE_MASS = 0.005  # of each of them under the corpus
Responses = Float[np.ndarray, " Y"]


class EnumeratedModel(nn.Module):
    """Pocket Qwen3 whose forward pass returns the log-probabilities of all 8^L responses, in nats.

    The probability of a token is the softmax over the 8 symbols; special tokens are never written.
    """

    def __init__(self, hidden: int, length: int, seed: int) -> None:
        super().__init__()
        names = [f"s{index}" for index in range(SYMBOLS)]
        tokenizer = build_tokenizer([*names, "<pad>", "<bos>", "<eos>"], "<pad>", "<bos>", "<eos>")
        shape = ModelShape(hidden=hidden, layers=2, heads=4, ffn=2 * hidden, context=length + 1)
        self.model = build_model(shape, tokenizer, seed)
        prefixes = torch.cartesian_prod(*[torch.arange(SYMBOLS)] * (length - 1)).view(-1, length - 1)
        start = torch.full((len(prefixes), 1), tokenizer.bos_token_id)
        self.register_buffer("prefixes", torch.cat([start, prefixes], dim=1))

    def forward(self) -> Float[Tensor, " Y"]:
        logits = self.model(input_ids=self.prefixes, use_cache=False).logits[..., :SYMBOLS]
        tokens = logits.log_softmax(dim=-1)
        length, total = tokens.shape[1], tokens.new_zeros(1)
        for position in range(length):
            # Prefixes count up in base 8: every 8^(L - 1 - position)-th row begins another of that length.
            known = tokens[:: SYMBOLS ** (length - 1 - position), position]
            total = (total[:, None] + known).flatten()
        return total


class Table(nn.Module):
    """One logit per response."""

    def __init__(self, logits: Float[Tensor, " Y"]) -> None:
        super().__init__()
        self.logits = nn.Parameter(logits.clone())

    def forward(self) -> Float[Tensor, " Y"]:
        return self.logits.log_softmax(dim=0)


def corpus(instance: str, length: int, seed: int) -> Responses:
    """Probabilities of all responses under the skewed Markov chain that π_ref is pretrained on."""
    rng = np.random.default_rng([seed, 1])
    initial = rng.dirichlet(np.full(SYMBOLS, 2.0))
    if instance == "rare":
        rest = [symbol for symbol in range(SYMBOLS) if symbol not in RARE]
        initial[rest] *= (1 - len(RARE) * RARE_MASS) / initial[rest].sum()
        initial[list(RARE)] = RARE_MASS
    transitions = rng.dirichlet(np.full(SYMBOLS, 0.5), SYMBOLS)
    probabilities = initial
    for _ in range(length - 1):
        probabilities = (probabilities.reshape(-1, SYMBOLS)[..., None] * transitions).ravel()
    return probabilities


def reward(instance: str, length: int, scale: float, seed: int) -> Responses:
    """r* of all responses, range 0 to `scale`.

    "pattern": the sum of two hidden scores, of the first and of the last two symbols. "rare", as CE2: `scale`
    for one rare first symbol, `scale` - 1 for the other, 0 for the rest.
    """
    tokens = np.stack(np.unravel_index(np.arange(SYMBOLS**length), (SYMBOLS,) * length))
    if instance == "rare":
        return np.select([tokens[0] == RARE[0], tokens[0] == RARE[1]], [scale, scale - 1.0], 0.0)
    first, last = np.random.default_rng([seed, 2]).normal(size=(2, SYMBOLS, SYMBOLS))
    score = first[tokens[0], tokens[1]] + last[tokens[-2], tokens[-1]]
    return scale * (score - score.min()) / np.ptp(score)


def train(job: Job, _workspace: Path) -> Record:
    """Entry point of the language-model sweep.

    Config: `instance` and `scale` (range of r*), `protocol`, `policy` ("model" or "table"), `length`,
    `hidden`; `pretraining` steps; `rounds` of `comparisons` labels with `steps` after each on all labels so
    far; `beta`, `alpha` beside the summed log-likelihood, `learning_rate`, `table_learning_rate`.

    Returns:
        Series over rounds: `regret`, cumulative J(π*) - J(π_t); `distance`, KL(π_t ‖ π_ref). Scalars: `total`
        and `half`, the regret after all and half the rounds; `first`, that of π_ref; `last`, that of the last
        policy; `mixed`, the share of pairs with two different responses.
    """
    (seed,), config = job.seeds, job.config
    target = corpus(config["instance"], config["length"], seed)
    truth = reward(config["instance"], config["length"], config["scale"], seed)
    policy, reference = pretrained(config, target, seed)
    best = gibbs_policy(reference, truth, config["beta"])
    regrets, distances, mixed = [0.0], [0.0], []
    for current, pairs in online(policy, reference, truth, config, seed):
        regrets.append(config["beta"] * float(kl(current, best)))
        distances.append(float(kl(current, reference)))
        mixed.append(float((pairs[0] != pairs[1]).mean()))
    regret = np.cumsum(regrets)
    scalars = {
        "total": regret[-1],
        "half": regret[max(1, config["rounds"] // 2)],
        "first": config["beta"] * float(kl(reference, best)),
        "last": regrets[-1],
        "mixed": np.mean(mixed),
    }
    return Record(
        {name: np.array([number]) for name, number in scalars.items()},
        {"regret": regret[None], "distance": np.array([distances])},
    )


def online(
    policy: nn.Module, reference: Responses, truth: Responses, config: Mapping[str, Any], seed: int
) -> Iterator[tuple[Responses, Int[np.ndarray, "2 N"]]]:
    """Rounds of compare and fit; yields each π_t with the pairs of its round, winners first."""
    protocol = PROTOCOLS[config["protocol"]]
    alpha = 0.0 if protocol.bonus == "none" else config["alpha"]
    rng = np.random.default_rng([seed, 3])
    rate = config["learning_rate" if config["policy"] == "model" else "table_learning_rate"]
    optimizer = torch.optim.Adam(policy.parameters(), lr=rate, fused=True)
    log_reference = torch.from_numpy(np.log(reference))
    previous, data = reference, np.empty((2, 0), dtype=np.int64)
    for _ in range(config["rounds"]):
        current = probabilities(policy)
        partner = {"self": current, "ref": reference, "prev": previous}[protocol.partner]
        uniforms = rng.random((3, config["comparisons"]))
        first, second = draw(current[None], uniforms[0]), draw(partner[None], uniforms[1])
        wins = first_wins(truth[first] - truth[second], uniforms[2])
        pairs = np.stack([np.where(wins, first, second), np.where(wins, second, first)])
        yield current, pairs
        data = np.concatenate([data, pairs], axis=1)
        winners, losers = torch.from_numpy(data)
        weights = torch.from_numpy(current if protocol.bonus == "prev" else reference)
        for _ in range(config["steps"]):
            ratio = policy().double() - log_reference
            loss = optimistic_dpo_loss(ratio[winners], ratio[losers], ratio, config["beta"], alpha, weights)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        previous = current


def pretrained(
    config: Mapping[str, Any], target: Responses, seed: int
) -> tuple[EnumeratedModel | Table, Responses]:
    """The policy after pretraining on the corpus, and its probabilities, which are π_ref."""
    model = EnumeratedModel(config["hidden"], config["length"], seed)
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3, fused=True)
    weights = torch.from_numpy(target).float()
    for _ in range(config["pretraining"]):
        optimizer.zero_grad()
        (-(weights * model()).sum()).backward()
        optimizer.step()
    if config["policy"] == "model":
        return model, probabilities(model)
    table = Table(torch.from_numpy(np.log(probabilities(model))))
    return table, probabilities(table)


def probabilities(policy: Callable[[], Tensor]) -> Responses:
    """The policy over all responses in double precision."""
    with torch.no_grad():
        mass = policy().double().softmax(dim=0)
    return mass.numpy()
