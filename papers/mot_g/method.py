"""MoT-G: reinforcement learning on thoughts that are mixtures of tokens (arXiv:2509.21482).

At a thinking step k candidate tokens are chosen, and the model reads the weighted mean of their embeddings
in the place of one token's; the answer is sampled as usual. GRPO gets a surrogate for the log-probability of
such a step. The equations come first, then the hook that writes thoughts, then the trainer. The text of the
paper could not be had in full: what it leaves open is the first author's public code, and is marked so.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple, get_args

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn import functional

from common.models.frozen import frozen_copy
from common.models.hidden_states import State
from common.models.stepwise import Step, decode
from common.rl.config import GroupConfig
from common.rl.losses import aggregate
from common.rl.rollout import Batch, Rollout, derived_generator, loss_mask
from common.rl.trainer import GroupTrainer

Selector = Literal["different_tokens", "top_k"]
Aggregator = Literal["probability", "dirichlet", "uniform"]
Surrogate = Literal["multi", "single", "plackett_luce"]
Read = Literal["mixture", "random_partners", "noise", "token"]
SMALLEST = 1e-6  # of a candidate's probability, below which the Dirichlet's parameters underflow


@dataclass(frozen=True)
class Mixing:
    """How a thought is made of the next-token distribution p at temperature τ.

    Attributes:
        tokens: k, candidates of a step.
        selector: ``"different_tokens"`` draws k tokens from p without replacement, ``"top_k"`` takes the
            likeliest.
        aggregator: Weights: ``"probability"`` is p on the candidates, normalised, p̂; ``"dirichlet"`` draws
            them from Dir(c p̂); ``"uniform"`` is 1/k.
        concentration: c; with c to 0 one token is drawn, with c to infinity the weights are p̂.
        temperature: τ, of thoughts and answers.
        read: What the model reads. Beside ``"mixture"`` there are controls: ``"random_partners"`` keeps the
            weights and has random tokens in the place of all candidates but the visible one, ``"noise"`` is
            the visible token's embedding with Gaussian noise as large as the mixture is far from it, and
            ``"token"`` is that embedding itself, plain sampling from the candidates.

    Raises:
        ValueError: a number that cannot be, or an unknown name.
    """

    tokens: int = 2
    selector: Selector = "different_tokens"
    aggregator: Aggregator = "probability"
    concentration: float = 1.0
    temperature: float = 0.9
    read: Read = "mixture"

    def __post_init__(self) -> None:
        if self.tokens < 1 or self.concentration <= 0 or self.temperature <= 0:
            raise ValueError(
                f"need at least one token, and concentration and temperature above 0; got {self.tokens}, "
                f"{self.concentration}, {self.temperature}"
            )
        choices = {"selector": Selector, "aggregator": Aggregator, "read": Read}
        for name, kind in choices.items():
            if getattr(self, name) not in get_args(kind):
                raise ValueError(
                    f"unknown {name} '{getattr(self, name)}'; choose one of {', '.join(get_args(kind))}"
                )


class Mixture(NamedTuple):
    """One thinking step of n rows.

    Attributes:
        candidates: S_t; in the order of their draw with different tokens, else the likeliest first.
        weights: w_t, which sum to 1.
        token: The representative, a candidate drawn with these weights: it stands in the text.
        plain: A token drawn from p, the first of different tokens.
    """

    candidates: Int[Tensor, "n k"]
    weights: Float[Tensor, "n k"]
    token: Int[Tensor, " n"]
    plain: Int[Tensor, " n"]


def mixture_step(
    probabilities: Float[Tensor, "n V"], mixing: Mixing, generator: torch.Generator | None = None
) -> Mixture:
    """Choose candidates, weights and the representative.

    Different tokens are the first k of an exponential race: successive draws without replacement, nested in
    k, and for k = 1 the numbers of the plain sampler.

    Args:
        probabilities: p, at the temperature of the mixing.
        mixing: See there.
        generator: Source of randomness, on the probabilities' device; the global one if None.

    Raises:
        ValueError: more candidates than tokens.
    """
    if mixing.tokens > probabilities.shape[-1]:
        raise ValueError(f"{mixing.tokens} candidates from {probabilities.shape[-1]} tokens")
    race = probabilities / torch.empty_like(probabilities).exponential_(generator=generator)
    ranked = race if mixing.selector == "different_tokens" else probabilities
    candidates = ranked.topk(mixing.tokens, dim=-1).indices
    weights = _weights(probabilities.gather(-1, candidates), mixing, generator)
    token = candidates.gather(-1, _draw(weights, generator)[:, None])[:, 0]
    return Mixture(candidates, weights, token, race.argmax(dim=-1))


def _weights(
    chosen: Float[Tensor, "n k"], mixing: Mixing, generator: torch.Generator | None
) -> Float[Tensor, "n k"]:
    if mixing.aggregator == "uniform":
        return torch.full_like(chosen, 1 / mixing.tokens)
    chosen = chosen.clamp(min=SMALLEST)
    normalised = chosen / chosen.sum(dim=-1, keepdim=True)
    if mixing.aggregator == "probability":
        return normalised
    # torch.distributions.Dirichlet samples by this function, but from the global generator alone
    return torch._sample_dirichlet(mixing.concentration * normalised, generator=generator)


def _draw(weights: Float[Tensor, "n k"], generator: torch.Generator | None) -> Int[Tensor, " n"]:
    """A place in each row; of one place no random number is used."""
    if weights.shape[-1] == 1:
        return weights.new_zeros(len(weights), dtype=torch.long)
    return (weights / torch.empty_like(weights).exponential_(generator=generator)).argmax(dim=-1)


def mixture_log_prob(
    log_probs: Float[Tensor, "*s V"],
    candidates: Int[Tensor, "*s k"],
    surrogate: Surrogate = "multi",
    token: Int[Tensor, "*s"] | None = None,
) -> Float[Tensor, "*s"]:
    """ℓ, what stands for the log-probability of a mixture step in GRPO.

    ``"single"`` is log p of the representative. ``"multi"`` is Σ_S p̂_j log p_j, with a gradient through both
    factors: it is no log-likelihood. ``"plackett_luce"`` is that of ordered draws without replacement,
    Σ_m log p_{j_m} / (1 - Σ_{l<m} p_{j_l}), whose policy gradient is unbiased (our correction).

    Args:
        log_probs: log p, at the sampler's temperature.
        candidates: S in the order of the draw.
        surrogate: See above.
        token: The representative, for ``"single"``.
    """
    if surrogate == "single":
        if token is None:
            raise ValueError("the single-token surrogate needs the representative")
        return log_probs.gather(-1, token[..., None])[..., 0]
    chosen = log_probs.gather(-1, candidates)
    if surrogate == "multi":
        return (chosen.softmax(dim=-1) * chosen).sum(dim=-1)
    total, left = torch.zeros_like(chosen[..., 0]), log_probs
    for place in range(candidates.shape[-1]):
        total = total + chosen[..., place] - left.logsumexp(dim=-1)
        left = left.scatter(-1, candidates[..., place : place + 1], -torch.inf)
    return total


def kl_estimate(reference: Float[Tensor, "*s"], own: Float[Tensor, "*s"]) -> Float[Tensor, "*s"]:
    """k3 of the surrogates, e^{a-b} - (a - b) - 1: an estimate of a divergence where ℓ is a likelihood."""
    gap = reference - own
    return gap.expm1() - gap


class Thinking:
    """The hook that writes mixtures until the visible text spells the end of thinking, then plain tokens.

    Logs at each step ``candidates``, ``partners`` (the tokens that were read: the candidates, but for a
    control), ``weights``, ``thinking`` (1 before the end) and ``entropy`` of p in nats.

    Args:
        mixing: Of the thoughts.
        end: Ids that end them, as visible tokens; the step that completes them is still a mixture, as in the
            official code.
        rows: N, rows of the batch.
        vocabulary: Tokens that a random partner is drawn from.
        generator: Source of randomness, on the model's device; the global one if None.
    """

    def __init__(
        self,
        mixing: Mixing,
        end: Sequence[int],
        rows: int,
        vocabulary: int,
        generator: torch.Generator | None = None,
    ) -> None:
        self.mixing, self.end, self.vocabulary, self.generator = mixing, list(end), vocabulary, generator
        self.done = torch.zeros(rows, dtype=torch.bool)

    def __call__(self, logits: Float[Tensor, "n V"], state: State) -> Step:
        probabilities = torch.softmax(logits.float() / self.mixing.temperature, dim=-1)
        mixture = mixture_step(probabilities, self.mixing, self.generator)
        thinking = self._thinking(state)
        partners = self._partners(mixture)
        ids = torch.where(thinking, mixture.token, mixture.plain)
        state.log |= {
            "candidates": mixture.candidates,
            "partners": partners,
            "weights": mixture.weights,
            "thinking": thinking.long(),
            "entropy": torch.special.entr(probabilities).sum(dim=-1),
        }
        plain = state.embed(ids)
        if self.mixing.read == "token":
            return Step(ids)
        mixed = (mixture.weights[..., None].to(plain.dtype) * state.embed(partners)).sum(dim=-2)
        if self.mixing.read == "noise":
            mixed = plain + self._noise(mixed - plain)
        return Step(ids, torch.where(thinking[:, None], mixed, plain))

    def _thinking(self, state: State) -> Bool[Tensor, " n"]:
        """Rows whose text does not hold the end of thinking yet."""
        self.done = self.done.to(state.rows.device)
        if state.step >= len(self.end):
            last = state.ids[:, -len(self.end) :]
            self.done[state.rows] |= (last == last.new_tensor(self.end)).all(dim=1)
        return ~self.done[state.rows]

    def _partners(self, mixture: Mixture) -> Int[Tensor, "n k"]:
        if self.mixing.read != "random_partners":
            return mixture.candidates
        random = torch.randint(
            self.vocabulary,
            mixture.candidates.shape,
            generator=self.generator,
            device=mixture.candidates.device,
        )
        return torch.where(mixture.candidates == mixture.token[:, None], mixture.candidates, random)

    def _noise(self, shift: Float[Tensor, "n D"]) -> Float[Tensor, "n D"]:
        """A random direction, as long as each shift."""
        random = torch.empty_like(shift).normal_(generator=self.generator)
        return random * shift.norm(dim=-1, keepdim=True) / random.norm(dim=-1, keepdim=True)


@dataclass
class MoTGConfig(GroupConfig):
    """Configuration of `MoTGTrainer`; the rest is `common.rl.config.GroupConfig` and `trl.GRPOConfig`.

    `temperature` is τ. The likelihood of a step is taken at that temperature too, as TRL does; the official
    code samples at 0.9 and scores at 1. With one different token a thought is a sampled token: then training
    is `GroupTrainer`'s, and its `beta` and `loss_type` act.

    Attributes:
        motg_tokens: k.
        motg_selector: See `Mixing`; the default is the paper's variant Different Tokens.
        motg_aggregator: See `Mixing`; ``"dirichlet"`` with ``"top_k"`` is the variant Dirichlet.
        motg_concentration: c.
        motg_surrogate: See `mixture_log_prob`.
        motg_read: See `Mixing`; all but ``"mixture"`` are controls.
        motg_end: Text that ends the thoughts.
        motg_kl: β of the KL estimate on surrogate values, where thoughts are mixtures.
        motg_embedding_gradient: Also send the gradient into the embeddings that a mixture is made of; the
            official code holds them constant.
    """

    motg_tokens: int = field(default=2, metadata={"help": "Candidates of a thinking step."})
    motg_selector: Selector = field(default="different_tokens", metadata={"help": "Candidates' choice."})
    motg_aggregator: Aggregator = field(default="probability", metadata={"help": "Candidates' weights."})
    motg_concentration: float = field(default=1.0, metadata={"help": "Concentration of Dirichlet weights."})
    motg_surrogate: Surrogate = field(default="multi", metadata={"help": "multi, single or plackett_luce."})
    motg_read: Read = field(default="mixture", metadata={"help": "What the model reads of a thought."})
    motg_end: str = field(default="</think>", metadata={"help": "Text that ends the thoughts."})
    motg_kl: float = field(default=0.1, metadata={"help": "Weight of the KL estimate of mixtures."})
    motg_embedding_gradient: bool = field(
        default=False, metadata={"help": "Train the embeddings through mixtures too."}
    )

    def __post_init__(self) -> None:
        if self.mixes:
            self.loss_variant = "none"
        super().__post_init__()
        if self.motg_surrogate not in get_args(Surrogate):
            raise ValueError(f"motg_surrogate='{self.motg_surrogate}'; choose one of {get_args(Surrogate)}")
        if self.motg_kl < 0:
            raise ValueError(f"motg_kl={self.motg_kl} must not be negative")
        if self.motg_surrogate == "plackett_luce" and self.motg_selector == "top_k":
            raise ValueError("plackett_luce is the likelihood of different tokens, not of the top k")
        if self.motg_read == "noise":
            raise ValueError("motg_read='noise' is a control of generation: its steps are not recorded")
        if self.mixes and (self.use_vllm or self.dynamic_sampling_rounds):
            raise ValueError("mixtures are sampled step by step: leave use_vllm and dynamic sampling off")
        _ = self.mixing

    @property
    def mixes(self) -> bool:
        """Whether a thought is anything but a sampled token."""
        return self.motg_tokens > 1 or self.motg_selector == "top_k"

    @property
    def mixing(self) -> Mixing:
        """How thoughts are made."""
        return Mixing(
            self.motg_tokens,
            self.motg_selector,
            self.motg_aggregator,
            self.motg_concentration,
            self.temperature,
            self.motg_read,
        )


class MoTGTrainer(GroupTrainer, name="MoT-G", tags=("grpo", "mot-g")):
    """`GroupTrainer` whose rollouts think in mixtures; the update scores the thoughts that were recorded.

    Of a rollout it keeps candidates, weights and the phase of each token, and mixes their embeddings again
    in the update, without gradient. There is one update on a rollout, so the surrogate's ratio is 1 and its
    gradient is all that counts.

    Raises:
        ValueError: several processes, several updates on a rollout, or a tokenizer that cannot write the end
            of thinking.
    """

    args: MoTGConfig

    def __init__(self, *args: Any, **others: Any) -> None:
        super().__init__(*args, **others)
        own = self.args
        self.end_ids = self.tokenizer(own.motg_end, add_special_tokens=False)["input_ids"]
        self.reference = frozen_copy(self.model) if own.mixes and own.motg_kl else None
        if not own.mixes:
            return
        if self.accelerator.num_processes > 1 or own.optimizer_steps_per_rollout != 1:
            raise ValueError("mixtures train in one process, with one optimizer step on a rollout batch")
        if not self.end_ids:
            raise ValueError(f"the tokenizer writes nothing for motg_end='{own.motg_end}'")

    def complete(self, prompt_ids: list[list[int]]) -> list[list[int]] | None:
        """Thoughts and answers, whose visible tokens are returned and whose mixtures are recorded."""
        if not self.args.mixes:
            return super().complete(prompt_ids)
        padded = self.tokenizer.pad({"input_ids": prompt_ids}, padding_side="left", return_tensors="pt")
        padded = padded.to(self.accelerator.device)
        model = self.accelerator.unwrap_model(self.model)
        generator = torch.Generator(self.accelerator.device)
        seed = derived_generator(self.args.seed, self.passes_done).initial_seed()
        hook = Thinking(
            self.args.mixing,
            self.end_ids,
            len(prompt_ids),
            len(self.tokenizer),
            generator.manual_seed(seed),
        )
        self.thoughts = decode(
            model,
            padded["input_ids"],
            padded["attention_mask"],
            self.max_completion_length,
            hook,
            self.eos_token_ids,
            self.tokenizer.pad_token_id,
        )
        rows = zip(self.thoughts.ids, self.thoughts.mask.bool(), strict=True)
        return [ids[written].tolist() for ids, written in rows]

    def loss_inputs(self, rollout: Rollout) -> dict[str, Tensor]:
        """The recorded thoughts, as wide as TRL's completions."""
        if not self.args.mixes:
            return {}
        log, width = self.thoughts.log, rollout.completion_ids.shape[1]
        names = ("candidates", "partners", "weights", "thinking")
        return {f"motg_{name}": _wide(log[name], width) for name in names}

    def extra_loss(
        self,
        log_probs: Float[Tensor, "B T"],
        entropies: Float[Tensor, "B T"],
        batch: Batch,
    ) -> Float[Tensor, ""] | None:
        """GRPO's loss on surrogates, the mean over responses of the mean over their tokens."""
        if not self.args.mixes:
            return super().extra_loss(log_probs, entropies, batch)
        inputs = self.mixed_inputs(batch)
        own = self.surrogates(self.model, inputs, batch)
        advantages = batch["advantages"]
        advantages = advantages[:, None] if advantages.ndim == 1 else advantages
        loss = -(own - own.detach()).exp() * advantages
        if self.reference is not None:
            with torch.no_grad():
                reference = self.surrogates(self.reference, inputs, batch)
            divergence = kl_estimate(reference, own)
            loss = loss + self.args.motg_kl * divergence
            mask = loss_mask(batch)
            self.log_metric("kl", float((divergence.detach() * mask).sum() / mask.sum()))
        return aggregate(loss, loss_mask(batch), "sequence_mean")

    def mixed_inputs(self, batch: Batch) -> Float[Tensor, "B L D"]:
        """What the model has read: embeddings of prompt and answer, mixtures where it thought."""
        embed = self.model.get_input_embeddings()
        written = embed(batch["completion_ids"])
        with torch.set_grad_enabled(self.args.motg_embedding_gradient):
            weights = batch["motg_weights"][..., None].to(written.dtype)
            mixed = (weights * embed(batch["motg_partners"])).sum(dim=-2)
        if self.args.motg_read != "token":
            written = torch.where(batch["motg_thinking"].bool()[..., None], mixed, written)
        return torch.cat([embed(batch["prompt_ids"]), written], dim=1)

    def surrogates(self, model: Any, inputs: Float[Tensor, "B L D"], batch: Batch) -> Float[Tensor, "B T"]:
        """ℓ of the thoughts, log p of the other tokens."""
        attention = torch.cat([batch["prompt_mask"], batch["completion_mask"]], dim=1)
        width = batch["completion_ids"].shape[1]
        logits = model(
            inputs_embeds=inputs,
            attention_mask=attention,
            position_ids=(attention.cumsum(dim=1) - 1).clamp(min=0),
            use_cache=False,
            logits_to_keep=width + 1,
        ).logits[:, :-1]
        log_probs = (logits.float() / self.temperature).log_softmax(dim=-1)
        written = batch["completion_ids"]
        plain = mixture_log_prob(log_probs, written[..., None], "single", written)
        thought = mixture_log_prob(log_probs, batch["motg_candidates"], self.args.motg_surrogate, written)
        return torch.where(batch["motg_thinking"].bool(), thought, plain)


def _wide(values: Tensor, width: int) -> Tensor:
    """[N, T, …] with columns of zeros behind the last, up to a width."""
    missing = width - values.shape[1]
    return functional.pad(values, [0, 0] * (values.ndim - 2) + [0, missing])
