"""Online preference learning: the new policy and the previous one answer, a judge labels, a trainer fits."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from transformers import PreTrainedModel, PreTrainedTokenizerBase, Trainer, set_seed
from trl import DPOConfig

Prompt = str | list[dict[str, str]]
Prefer = Callable[[Sequence[Prompt], Sequence[str], Sequence[str]], Sequence[bool]]
"""(prompts, first responses, second responses) -> for each prompt, whether the first is preferred."""
FROM_THE_POLICY = {"do_sample": True, "temperature": 1.0, "top_k": 0, "top_p": 1.0}


def online(
    policy: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    prompts: Sequence[Prompt],
    prefer: Prefer,
    trainer: Callable[..., Trainer],
    args: DPOConfig,
    rounds: int,
    prompts_per_round: int,
    **generation: Any,
) -> Iterator[Trainer]:
    """Train `policy` in place; each round has a trainer, and so an optimizer and a schedule, of its own.

    π_ref is the policy as it comes. A round samples one response from π_t and one from π_{t-1} for each of
    its prompts, which are taken in turn, and trains on these pairs alone. Three models are in memory.

    Args:
        policy: All of its weights are trained.
        tokenizer: With a chat template if prompts are messages.
        prompts: Texts, or lists of messages.
        prefer: The judge.
        trainer: TRL's `DPOTrainer` or one derived from it.
        args: Of every round. Pairs and checkpoints go to ``round-000``, ... below its ``output_dir``;
            responses are written in batches of ``per_device_eval_batch_size``; round t samples with seed
            ``seed + t``.
        rounds: How many.
        prompts_per_round: Pairs that each of them labels.
        generation: Arguments of `generate`, ``max_new_tokens`` at least. Changing the sampling changes the
            policy that is compared.

    Yields:
        The trainer of each round, after its training.

    Raises:
        ValueError: several processes, which would all label the same prompts.
    """
    if args.world_size > 1:
        raise ValueError(f"online rounds run in one process, not in {args.world_size}")
    reference, previous = copy.deepcopy(policy), copy.deepcopy(policy)
    for number in range(rounds):
        own = copy.copy(args)
        own.output_dir = str(Path(str(args.output_dir), f"round-{number:03}"))
        start = number * prompts_per_round
        asked = [prompts[(start + index) % len(prompts)] for index in range(prompts_per_round)]
        set_seed(args.seed + number)
        batch = args.per_device_eval_batch_size
        pairs = compare(policy, previous, tokenizer, asked, prefer, batch, **generation)
        pairs.to_json(Path(own.output_dir, "pairs.jsonl"))
        previous.load_state_dict(policy.state_dict())
        fitted = trainer(policy, reference, args=own, train_dataset=pairs, processing_class=tokenizer)
        fitted.train()
        for model in (policy, reference):
            # TRL wraps `forward` once per trainer. Rounds would nest the wrappers, and a copy of a wrapped
            # model would answer with the weights of the original.
            vars(model).pop("forward", None)
        yield fitted


def compare(
    policy: PreTrainedModel,
    previous: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    prompts: Sequence[Prompt],
    prefer: Prefer,
    batch: int,
    **generation: Any,
) -> Dataset:
    """A labelled pair per prompt: columns prompt, chosen, rejected, and `previous_chosen`.

    The last one says that `previous` wrote the chosen response; else it wrote the rejected one. Pairs of
    equal responses stay: their label says nothing, but the response is one of the previous policy.
    """
    previous.to(policy.device)  # type: ignore[arg-type]  # its decorator hides the signature
    first, second = (sample(model, tokenizer, prompts, batch, **generation) for model in (policy, previous))
    rows = [
        {
            "prompt": prompt,
            "chosen": _response(prompt, one if wins else other),
            "rejected": _response(prompt, other if wins else one),
            "previous_chosen": not wins,
        }
        for prompt, one, other, wins in zip(
            prompts, first, second, prefer(prompts, first, second), strict=True
        )
    ]
    return Dataset.from_list(rows)


def sample(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    prompts: Sequence[Prompt],
    batch: int,
    **generation: Any,
) -> list[str]:
    """One response per prompt, by default from the model's own distribution, without special tokens."""
    responses: list[str] = []
    model.eval()
    for start in range(0, len(prompts), batch):
        texts = [_text(prompt, tokenizer) for prompt in prompts[start : start + batch]]
        chat = not isinstance(prompts[start], str)  # a template writes its special tokens itself
        inputs = tokenizer(
            texts, padding=True, padding_side="left", add_special_tokens=not chat, return_tensors="pt"
        ).to(model.device)
        with torch.no_grad():
            written = model.generate(  # type: ignore[operator]
                **inputs, pad_token_id=tokenizer.pad_token_id, **{**FROM_THE_POLICY, **generation}
            )
        width = inputs["input_ids"].shape[1]
        responses += tokenizer.batch_decode(written[:, width:], skip_special_tokens=True)
    return responses


def _text(prompt: Prompt, tokenizer: PreTrainedTokenizerBase) -> str:
    if isinstance(prompt, str):
        return prompt
    return str(tokenizer.apply_chat_template(prompt, tokenize=False, add_generation_prompt=True))


def _response(prompt: Prompt, text: str) -> Prompt:
    return text if isinstance(prompt, str) else [{"role": "assistant", "content": text}]
