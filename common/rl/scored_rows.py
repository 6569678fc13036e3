"""Which rows a forward has to see, and beside which: row skipping and length batches in TRL's scoring."""

from __future__ import annotations

from functools import partial
from typing import Any

from jaxtyping import Float
from torch import Tensor

from common.rl import entropy
from common.rl.length_batches import Score, Scores, score_by_length, score_mixed
from common.rl.losses import Advantages
from common.rl.rollout import Batch, loss_mask
from common.rl.row_skipping import fill_values, kept_rows, score_rows
from common.rl.scoring import Scoring


class ScoredRows(Scoring):
    """`GRPOTrainer` that scores samples and updates as its capabilities ask; by default as TRL does."""

    _batch: Batch | None = None
    """The rows of the update under way; None while samples are scored."""
    _sampling_entropies: Float[Tensor, "B T"] | None = None
    _update_scores: tuple[Float[Tensor, "B T"], Float[Tensor, "B T"]] | None = None

    def update_advantages(self, entropies: Float[Tensor, "B T"], batch: Batch) -> Advantages | None:
        """See `common.rl.trainer.GroupTrainer`."""
        raise NotImplementedError

    def _get_per_token_logps_and_entropies(
        self, model: Any, ids: Tensor, mask: Tensor, keep: int, *rest: Any, **kwargs: Any
    ) -> tuple[Any, Any, Any]:
        """Scores of samples, which an update compares with, or of the update under way."""
        if self._batch is None:
            return self._score_samples(model, ids, mask, keep, *rest, **kwargs)
        scores = self._score_update(self._batch, model, ids, mask, keep, *rest, **kwargs)
        log_probs, entropies, _ = scores
        assert entropies is not None, "an update asks for entropies"
        self._update_scores = log_probs, entropies
        self._log_entropies(entropies.detach(), self._batch)
        changed = self.update_advantages(entropies.detach(), self._batch)
        if changed is not None:
            self._batch["advantages"] = changed
        return scores

    def _score_samples(self, *inputs: Any, **kwargs: Any) -> tuple[Any, Any, Any]:
        """Nothing where no loss looks at it: without a policy loss there is no ratio and no reference."""
        args = self.args
        if args.loss_variant == "none":
            return None, None, None
        if args.row_skipping:
            kwargs["compute_entropy"] = True
        if args.scoring_batch_size is not None and not args.micro_batch_tokens:
            kwargs["batch_size"] = args.scoring_batch_size
        model, ids, mask, keep, *rest = inputs
        scores = self._by_length(model, *rest, **kwargs)(ids, mask, keep)
        self._sampling_entropies = scores[1]
        return scores

    def _score_update(
        self, batch: Batch, model: Any, ids: Tensor, mask: Tensor, keep: int, *rest: Any, **kwargs: Any
    ) -> Scores:
        """The rows that the loss needs; what stands in for the others adds nothing to it."""
        score = self._by_length(model, *rest, **kwargs)
        if self.args.skip_equal_groups and self.model.training:
            return score_mixed(score, ids, mask, keep, batch)
        if not (self.args.row_skipping and self.model.training):
            return score(ids, mask, keep)
        log_probs, entropies = score_rows(
            lambda ids, mask, keep: score(ids, mask, keep)[:2],  # type: ignore[arg-type,return-value]
            ids,
            mask,
            keep,
            kept_rows(batch["advantages"]),
            fill_values(
                batch.get("old_per_token_logps"), batch.get("sampling_entropies"), batch["completion_ids"]
            ),
        )
        return log_probs, entropies, None

    def _by_length(self, model: Any, *rest: Any, **kwargs: Any) -> Score:
        """TRL's scoring of some rows, in batches of similar length if asked to."""
        trl = super()._get_per_token_logps_and_entropies

        def score(ids: Tensor, mask: Tensor, keep: int) -> Scores:
            return trl(model, ids, mask, keep, *rest, **kwargs)

        tokens, gap = self.args.micro_batch_tokens, self.args.micro_batch_gap
        return partial(score_by_length, score, tokens=tokens, gap=gap) if tokens else score

    def _log_entropies(self, entropies: Tensor, batch: Batch) -> None:
        advantages = batch["advantages"]
        advantages = advantages[:, None] if advantages.ndim == 1 else advantages
        totals = self.accelerator.reduce(
            entropy.sign_totals(entropies, advantages, loss_mask(batch)), reduction="sum"
        )
        for name, mean in entropy.sign_means(totals).items():
            self.log_metric(f"entropy/{name}", mean)
