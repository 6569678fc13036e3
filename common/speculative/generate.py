"""The decoding loop. Without a draft it is plain decoding, in the same loop: the baseline of every speed-up.

A cycle: the draft proposes a tree of N tokens below the root; the target reads root and tree in one forward;
the verifier picks a path and the target's own token after it; the path's keys and values are committed, and
the draft reads the features of the tokens that were kept. In plain steps, for which the scheduler asks no
tree, it reads nothing; it catches up in one pass before the next tree. The last token of a prompt is the
first root, so that rows of one prompt share a forward but no draw.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from jaxtyping import Float, Int
from torch import Tensor

from common.models.options import require_plain_sampling
from common.speculative.cache import RaggedKVCache
from common.speculative.drafts import Draft
from common.speculative.scheduler import Scheduler
from common.speculative.target import LOOP, Reading, Target
from common.speculative.tree import DraftTree, TreeShape
from common.speculative.verify import SamplingParams, Verdict, Verifier, verify_token_matching

PHASES = ("prefill", "propose", "target", "verify", "update")


@dataclass
class Stats:
    """What the cycles of a generation did.

    Attributes:
        active: Running rows, one number per cycle.
        nodes: Draft tokens of a row, one number per cycle.
        kept: Tokens that each running row emitted in a cycle, the target's own included; one array per cycle.
        seconds: Time by phase.
    """

    active: list[int] = field(default_factory=list)
    nodes: list[int] = field(default_factory=list)
    kept: list[Int[Tensor, " b"]] = field(default_factory=list)
    seconds: dict[str, float] = field(default_factory=lambda: dict.fromkeys(PHASES, 0.0))

    @property
    def cycles(self) -> int:
        """Forwards of the target after the prefill."""
        return len(self.active)

    @property
    def tokens(self) -> int:
        """Emitted tokens of all rows."""
        return sum(int(kept.sum()) for kept in self.kept)

    @property
    def acceptance_length(self) -> float:
        """τ: emitted tokens per running row and cycle, the target's own token included."""
        return self.tokens / max(1, sum(self.active))


@dataclass(frozen=True)
class Generation:
    """Completions of N rows, a prompt's samples in consecutive rows.

    Attributes:
        tokens: Token ids of each completion, end of sequence included.
        stats: What the cycles did.
        features: Of each row, the target's features of its prompt and of its completion without the last
            token, as the draft read them; None unless asked for.
    """

    tokens: list[Int[Tensor, " t"]]
    stats: Stats
    features: list[Float[Tensor, "t F"]] | None


class SpeculativeGenerator:
    """Batched lossless speculative decoding.

    Args:
        target: The model that is decoded.
        draft: What proposes; None is plain decoding.
        scheduler: Trees by number of running rows; goes with a draft.
        verify: Acceptance rule.
        early_termination: Drop finished rows from the batch; if not, they are computed until the last one
            ends.
        cache_tokens: Slots of a row in the target's cache; None makes them fit.

    Raises:
        ValueError: a draft that does not fit the target, a draft without scheduler, or a model whose
            generation config asks for more than temperature and nucleus.
    """

    def __init__(
        self,
        target: Target,
        draft: Draft | None = None,
        scheduler: Scheduler | None = None,
        verify: Verifier = verify_token_matching,
        early_termination: bool = True,
        cache_tokens: int | None = None,
    ) -> None:
        if (draft is None) != (scheduler is None):
            raise ValueError("a draft and a scheduler go together")
        if draft is not None:
            draft.check(target)
        require_plain_sampling(target.model, (), LOOP)
        self.target, self.draft, self.scheduler, self.verify = target, draft, scheduler, verify
        self.early_termination, self.cache_tokens = early_termination, cache_tokens

    def generate(
        self,
        prompts: Sequence[Int[Tensor, " p"]],
        params: SamplingParams,
        samples: int | Int[Tensor, " P"] = 1,
        generator: torch.Generator | None = None,
        return_features: bool = False,
    ) -> Generation:
        """Complete every prompt `samples` times (one number, or one for each prompt).

        Args:
            prompts: Token ids, at least two each.
            params: How to sample.
            samples: Completions of a prompt.
            generator: Source of randomness, on the model's device; the global one if None.
            return_features: Keep the target's features (it needs taps).

        Raises:
            ValueError: a prompt of fewer than two tokens, texts longer than a context, trees larger than the
                cache, or some of the model's ends of sequence left out, before any forward; NaN logits.
        """
        if not prompts or min(len(prompt) for prompt in prompts) < 2:
            raise ValueError("need at least one prompt, each of at least two tokens")
        if return_features and not self.target.taps:
            raise ValueError("return_features needs a target with taps")
        require_plain_sampling(self.target.model, params.eos_ids, LOOP)
        with torch.inference_mode():
            run = _Run(self, prompts, params, samples, generator, return_features)
            while len(run.rows):
                run.cycle()
        return run.result()


class _Run:
    """State of one generation; row i of every per-row tensor is completion ``rows[i]``."""

    def __init__(
        self,
        engine: SpeculativeGenerator,
        prompts: Sequence[Int[Tensor, " p"]],
        params: SamplingParams,
        samples: int | Int[Tensor, " P"],
        generator: torch.Generator | None,
        return_features: bool,
    ) -> None:
        self.engine, self.params, self.generator = engine, params, generator
        self.target, self.draft, self.stats = engine.target, engine.draft, Stats()
        device = self.target.device
        self.eos = torch.tensor(params.eos_ids, dtype=torch.long, device=device)
        each = torch.arange(len(prompts), device=device).repeat_interleave(
            torch.as_tensor(samples, device=device)
        )
        count = len(each)
        widest, width = max(len(prompt) for prompt in prompts), params.max_new_tokens
        policies = engine.scheduler.policies(count) if engine.scheduler else []
        tree = max((policy.nodes for policy in policies), default=0) + 1
        self._start(prompts, each, *self._capacities(widest, tree, policies))
        self.rows = torch.arange(count, device=device)
        self.live = torch.ones_like(self.rows, dtype=torch.bool)
        self.made = torch.zeros_like(self.rows)  # tokens emitted by every completion
        self.tokens = torch.zeros(count, width + tree, dtype=torch.long, device=device)
        self.features: Tensor | None = None
        self.return_features = return_features
        self.behind = 0  # plain steps since the draft has read
        if return_features or (
            engine.scheduler is not None and None in map(engine.scheduler, range(1, count + 1))
        ):
            self._keep_features(each, width + tree)

    def _capacities(self, widest: int, tree: int, policies: Sequence[TreeShape]) -> tuple[int, int]:
        """Slots of a row in the target's and in the draft's cache."""
        text = widest + self.params.max_new_tokens
        for owner, context in (
            ("model", self.target.context),
            ("draft", self.draft.context if self.draft else text),
        ):
            if text > context:
                raise ValueError(
                    f"prompts of {widest} and {self.params.max_new_tokens} new tokens are longer than the "
                    f"{owner}'s context of {context}"
                )
        need = text + tree
        have = self.engine.cache_tokens or need
        if have < need:
            raise ValueError(
                f"a cache of {have} tokens a row cannot hold prompts of {widest}, "
                f"{self.params.max_new_tokens} new tokens and a tree of {tree} with its root; "
                f"give cache_tokens ≥ {need} or smaller trees"
            )
        staged = max((self.draft.slots(policy) for policy in policies), default=0) if self.draft else 0
        return have, text + max(staged, tree)

    def _start(
        self,
        prompts: Sequence[Int[Tensor, " p"]],
        each: Int[Tensor, " N"],
        capacity: int,
        draft_capacity: int,
    ) -> None:
        """Read all but the last token of each prompt once, then give every completion a row."""
        clock = time.perf_counter()
        device = self.target.device
        text = torch.nn.utils.rnn.pad_sequence(list(prompts), batch_first=True).to(device)
        sizes = torch.tensor([len(prompt) for prompt in prompts], device=device)
        rows, width = len(prompts), text.shape[1] - 1
        self.cache: RaggedKVCache = self.target.new_cache(torch.zeros_like(sizes), capacity)
        steps = torch.arange(width, device=device)
        self.cache.stage(width)
        mask = self.cache.mask((steps[:, None] >= steps).expand(rows, -1, -1), self.target.dtype)
        read = self.target.read(text[:, :-1], steps.expand(rows, -1), mask, self.cache, logits_to_keep=1)
        self.cache.commit(steps.expand(rows, -1), sizes - 1)
        self.cache.repeat_rows(each)
        self.root = text.gather(1, sizes[:, None] - 1)[each, 0]
        self.prompt_features, self.prompt_sizes = read.features, sizes
        if self.draft is not None:
            self.draft.begin(text[:, 0], draft_capacity)
            self.draft.extend(read.features, text[:, 1:], sizes - 1)
            self.draft.repeat_rows(each)
        self.stats.seconds["prefill"] += time.perf_counter() - clock

    def _keep_features(self, each: Int[Tensor, " N"], room: int) -> None:
        """Buffers that hold a row's prompt features first."""
        prompt = self.prompt_features[each]
        self.offset = (self.prompt_sizes - 1)[each]
        self.features = prompt.new_zeros(len(prompt), prompt.shape[1] + room, prompt.shape[2])
        self.features[:, : prompt.shape[1]] = prompt

    def cycle(self) -> None:
        """Propose, read, verify, update; then drop what has ended."""
        clocks = [time.perf_counter()]
        scheduler = self.engine.scheduler
        policy = scheduler(len(self.rows)) if scheduler is not None else None
        tree = self._plain() if policy is None else self._propose(policy)
        clocks.append(time.perf_counter())
        read = self._read(tree)
        clocks.append(time.perf_counter())
        verdict = self.engine.verify(read.logits, tree, self.params, self.generator)
        clocks.append(time.perf_counter())
        self._update(tree, verdict, read.features)
        clocks.append(time.perf_counter())
        for phase, start, end in zip(PHASES[1:], clocks[:-1], clocks[1:], strict=True):
            self.stats.seconds[phase] += end - start

    def _propose(self, policy: TreeShape) -> DraftTree:
        assert self.draft is not None
        if self.behind:
            assert self.features is not None
            steps = torch.arange(self.behind, device=self.rows.device)
            rows = self.rows[:, None]
            place = (self.made[rows] - self.behind + steps).clamp(min=0)  # below 0 in rows that have ended
            features = self.features[rows, place + self.offset[rows]]
            self.draft.extend(features, self.tokens[rows, place], self.behind * self.live)
            self.behind = 0
        return self.draft.propose(policy)

    def _plain(self) -> DraftTree:
        """Trees without draft tokens."""
        none = self.root[:, None][:, :0]
        return DraftTree.chain(none, none.float())

    def _read(self, tree: DraftTree) -> Reading:
        tokens = torch.cat([self.root[:, None], tree.tokens], dim=1)
        depth = tree.ancestor.sum(dim=-1) - 1
        self.cache.stage(tokens.shape[1])
        mask = self.cache.mask(tree.ancestor, self.target.dtype)
        places = self.cache.lengths[:, None] + depth
        inside = places.clamp(max=self.target.context - 1)  # no text reaches the nodes beyond
        return self.target.read(tokens, inside, mask, self.cache)

    def _update(self, tree: DraftTree, verdict: Verdict, features: Tensor) -> None:
        """Emit the accepted tokens up to an end of sequence or the limit, and commit what led to them."""
        path, width = verdict.path, verdict.path.shape[1]
        staged = torch.cat([self.root[:, None], tree.tokens], dim=1)
        steps = torch.arange(width, device=path.device)
        emitted = staged.gather(1, path).roll(-1, dims=1)
        emitted.scatter_(1, verdict.accepted[:, None], verdict.next_token[:, None])
        counts = (verdict.accepted + 1).minimum(self.params.max_new_tokens - self.made[self.rows])
        ends = torch.isin(emitted, self.eos) & (steps < counts[:, None])
        first = torch.where(ends.any(dim=1), ends.to(torch.uint8).argmax(dim=1) + 1, counts)
        counts = torch.where(self.live, first, torch.zeros_like(first))
        self.stats.active.append(int(self.live.sum()))
        self.stats.nodes.append(tree.tokens.shape[1])
        self.stats.kept.append(counts[self.live])
        self._write(emitted, counts, features, path)
        ended = ends.any(dim=1) | (self.made[self.rows] >= self.params.max_new_tokens)
        self.live &= ~ended
        self.root = torch.where(
            self.live, emitted.gather(1, (counts - 1).clamp(min=0)[:, None])[:, 0], self.root
        )
        self.cache.commit(path, counts)
        going = bool(self.live.any())
        if self.draft is not None and not tree.tokens.shape[1]:
            self.behind += 1
        elif self.draft is not None and going:
            self.draft.extend(_along(features, path), emitted, counts)
        if not going:
            self.rows = self.rows[:0]
        elif self.engine.early_termination and not bool(self.live.all()):
            self._drop()

    def _write(self, emitted: Tensor, counts: Tensor, features: Tensor, path: Tensor) -> None:
        steps = torch.arange(emitted.shape[1], device=emitted.device)
        rows, place = self.rows[:, None], self.made[self.rows][:, None] + steps
        going = self.live[:, None]
        self.tokens[rows, place] = torch.where(going, emitted, self.tokens[rows, place])
        if self.features is not None:
            place = place + self.offset[self.rows][:, None]
            kept = torch.where(going[..., None], _along(features, path), self.features[rows, place])
            self.features[rows, place] = kept
        self.made[self.rows] += counts

    def _drop(self) -> None:
        """Close the holes of ended rows with rows from the end, so that few are moved."""
        live = self.live
        count = int(live.sum())
        order = torch.arange(count, device=live.device)
        holes = (~live[:count]).nonzero()[:, 0]
        order[holes] = live[count:].nonzero()[:, 0] + count
        self.cache.select_rows(order)
        if self.draft is not None:
            self.draft.select_rows(order)
        self.rows, self.root, self.live = self.rows[order], self.root[order], self.live[order]

    def result(self) -> Generation:
        """Completions cut to their lengths, copied so that autograd may use them."""
        made = self.made.tolist()
        tokens = [row[:length].clone() for row, length in zip(self.tokens, made, strict=True)]
        features = None
        if self.return_features and self.features is not None:
            sizes = (self.made + self.offset).tolist()
            features = [row[:size].clone() for row, size in zip(self.features, sizes, strict=True)]
        return Generation(tokens, self.stats, features)


def _along(features: Float[Tensor, "B Q F"], path: Int[Tensor, "B A"]) -> Float[Tensor, "B A F"]:
    return features.gather(1, path[..., None].expand(-1, -1, features.shape[-1]))
