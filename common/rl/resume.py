"""Exact resume inside a rollout buffer, and checkpoints that count only once they are complete.

TRL trains several steps on one rollout batch, but a checkpoint keeps neither its rows nor the position in it.
A `BufferState` per process, written beside the trainer's own files, holds both. A marker is written last: a
folder without it is half written and ignored.
"""

from __future__ import annotations

import json
import os
import re
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor
from transformers import PreTrainedModel
from transformers.core_model_loading import revert_weight_conversion
from trl import GRPOTrainer

from common.rl.config import GroupConfig
from common.rl.dynamic_sampling import PromptStream

MARKER = "complete.json"
_STEP = re.compile(r"checkpoint-(\d+)$")

Chunk = dict[str, Tensor | None]


@dataclass(frozen=True)
class Layout:
    """What must agree between the process that saved a rollout buffer and the one that continues it."""

    world_size: int
    per_device_train_batch_size: int
    steps_per_generation: int
    num_iterations: int
    gradient_accumulation_steps: int
    num_generations: int

    @property
    def passes(self) -> int:
        """Forward-backward passes on one rollout buffer."""
        return self.steps_per_generation * self.num_iterations


@dataclass(frozen=True)
class BufferState:
    """What TRL forgets.

    Attributes:
        step: Forward-backward passes done.
        drawn: Position of the private prompt stream of dynamic sampling.
        metrics: Values collected since the last log, by name.
        loss_sum: Sum of losses since the last log.
        last_logged: Optimizer step of the last log.
        chunks: The rollout buffer, one dictionary of tensors per pass; empty between two buffers.
    """

    step: int
    drawn: int
    metrics: dict[str, list[float]]
    loss_sum: float
    last_logged: int
    chunks: list[Chunk]


def latest_complete_checkpoint(output_dir: str | Path) -> str | None:
    """The folder ``checkpoint-N`` of highest N that carries a completion marker, or None.

    Pass the result to `Trainer.train(resume_from_checkpoint=...)`: None starts from scratch.
    """
    folders = [path.parent for path in Path(output_dir).glob(f"checkpoint-*/{MARKER}")]
    steps = {int(found.group(1)): folder for folder in folders if (found := _STEP.search(str(folder)))}
    return str(steps[max(steps)]) if steps else None


def resolve(request: str | bool | None, output_dir: str | Path, layout: Layout) -> str | None:
    """Turn what was asked of `train` into a complete checkpoint that fits this run.

    Raises:
        ValueError: no complete checkpoint where one was asked for, or one saved inside a rollout buffer by a
            run of another layout (another number of processes can continue only between two buffers).
    """
    if not request:
        return None
    folder = latest_complete_checkpoint(output_dir) if request is True else str(request)
    if folder is None or not (Path(folder) / MARKER).is_file():
        where = output_dir if folder is None else folder
        raise ValueError(f"no complete checkpoint in {where}: the file {MARKER} is written last and missing")
    marker = json.loads((Path(folder) / MARKER).read_text())
    saved = Layout(**marker["layout"])
    boundary = marker["step"] % saved.passes == 0 and marker["step"] % layout.passes == 0
    if saved != layout and not boundary:
        theirs, ours = asdict(saved), asdict(layout)
        changed = ", ".join(
            f"{name} {theirs[name]} -> {ours[name]}" for name in ours if ours[name] != theirs[name]
        )
        raise ValueError(
            f"{folder} was saved inside a rollout buffer and cannot be continued with another "
            f"layout ({changed}); use the old one, or a checkpoint between two buffers"
        )
    return folder


def unmark(folder: str | Path) -> None:
    """Declare a checkpoint incomplete before it is written again."""
    (Path(folder) / MARKER).unlink(missing_ok=True)


def mark_complete(folder: str | Path, layout: Layout, step: int) -> None:
    """Write the marker, atomically; call it when every process has written its part."""
    temporary = Path(folder) / f"{MARKER}.tmp"
    temporary.write_text(json.dumps({"step": step, "layout": asdict(layout)}))
    os.replace(temporary, Path(folder) / MARKER)


def save_state(folder: str | Path, rank: int, state: BufferState) -> None:
    """Write the state of one process as a safetensors file."""
    fields: dict[str, Any] = {
        name: getattr(state, name) for name in BufferState.__annotations__ if name != "chunks"
    }
    fields["names"] = [list(chunk) for chunk in state.chunks]
    tensors = {
        f"{number}.{name}": value.detach().clone().contiguous()
        for number, chunk in enumerate(state.chunks)
        for name, value in chunk.items()
        if value is not None
    }
    save_file(tensors, _path(folder, rank), metadata={"state": json.dumps(fields)})


def load_state(folder: str | Path, rank: int, device: str | torch.device = "cpu") -> BufferState | None:
    """Read what `save_state` wrote, None if this rank had no part in that run."""
    path = _path(folder, rank)
    if not path.is_file():
        return None
    with safe_open(path, framework="pt") as file:
        fields = json.loads(file.metadata()["state"])
        present = set(file.keys())
        chunks: list[Chunk] = [
            {
                name: file.get_tensor(key).to(device) if (key := f"{number}.{name}") in present else None
                for name in names
            }
            for number, names in enumerate(fields.pop("names"))
        ]
    return BufferState(chunks=chunks, **fields)


def _path(folder: str | Path, rank: int) -> Path:
    return Path(folder) / f"rollout_buffer_{rank}.safetensors"


class ExactResume(GRPOTrainer):
    """`GRPOTrainer` that can continue inside a rollout buffer with zero difference to a run without a stop.

    Attributes:
        prompt_stream: The private prompts of dynamic sampling; its position is part of the saved state.
    """

    args: GroupConfig
    model: Any
    train_dataset: Any
    num_generations: int
    num_generations_eval: int
    max_completion_length: int
    prompt_stream: PromptStream
    _buffered_inputs: Any
    _logs: Any
    _sampler: Any = None

    def train(self, resume_from_checkpoint: str | bool | None = None, *args: Any, **kwargs: Any) -> Any:
        """As `Trainer.train`; with `exact_resume`, True means the latest *complete* checkpoint.

        Raises:
            ValueError: the checkpoint is half written, or lies inside a rollout buffer of another layout.
        """
        if self.args.exact_resume:
            resume_from_checkpoint = resolve(resume_from_checkpoint, str(self.args.output_dir), self._layout)
        return super().train(resume_from_checkpoint, *args, **kwargs)

    def _check_resume(self) -> None:
        """Refuse what a checkpoint of Trainer does not bring back.

        Raises:
            ValueError: DeepSpeed, FSDP, or a model whose checkpoints have other names than its weights.
        """
        if self.is_deepspeed_enabled or self.is_fsdp_enabled:
            raise ValueError(
                "exact_resume is tested with one process and with DDP, not with DeepSpeed or FSDP"
            )
        model = self.accelerator.unwrap_model(self.model)
        own = model.state_dict()
        if isinstance(model, PreTrainedModel) and revert_weight_conversion(model, own).keys() != own.keys():
            raise ValueError(
                f"exact_resume: {type(model).__name__} is saved under other names than its weights have "
                "(such as experts one by one), and on a resume Trainer leaves these as they were; train it "
                "without exact_resume"
            )

    @property
    def _layout(self) -> Layout:
        shared = [name for name in Layout.__annotations__ if name != "world_size"]
        return Layout(self.accelerator.num_processes, *(getattr(self.args, name) for name in shared))

    def _get_train_sampler(self, dataset: Any = None) -> Any:
        self._sampler = super()._get_train_sampler(dataset)
        return self._sampler

    def _init_training_state(self, *args: Any, **kwargs: Any) -> tuple[int, int]:
        """Put the sampler's generator where the passes already trained have left it: TRL starts it afresh."""
        epochs, steps = super()._init_training_state(*args, **kwargs)
        if self.args.exact_resume and self._sampler.shuffle:
            for _ in range(epochs):
                torch.randperm(self._sampler.num_samples, generator=self._sampler.generator)
        return epochs, steps

    def _save_checkpoint(self, model: Any, trial: Any) -> None:
        if not self.args.exact_resume:
            super()._save_checkpoint(model, trial)
            return
        folder = Path(self._get_output_dir(trial=trial)) / f"checkpoint-{self.state.global_step}"
        if self.accelerator.is_main_process:
            unmark(folder)
        self.accelerator.wait_for_everyone()
        super()._save_checkpoint(model, trial)
        save_state(folder, self.accelerator.process_index, self._buffer_state())
        self.accelerator.wait_for_everyone()
        if self.accelerator.is_main_process:
            mark_complete(folder, self._layout, self._step)

    def _buffer_state(self) -> BufferState:
        inside = self._step % self._layout.passes != 0
        return BufferState(
            step=self._step,
            drawn=self.prompt_stream.drawn,
            metrics=dict(self._metrics["train"]),
            loss_sum=self._tr_loss.item(),
            last_logged=self._globalstep_last_logged,
            chunks=self._buffered_inputs if inside else [],
        )

    def _load_rng_state(self, checkpoint: str | None) -> None:
        """Trainer's last act before it goes on training: what TRL forgets is put back here."""
        super()._load_rng_state(checkpoint)
        if checkpoint is None or not self.args.exact_resume:
            return
        state = load_state(checkpoint, self.accelerator.process_index, self.accelerator.device)
        if state is None:
            return
        self._step = state.step
        self.prompt_stream.drawn = state.drawn
        self._metrics["train"].update(state.metrics)
        self._tr_loss.fill_(state.loss_sum)
        self._globalstep_last_logged = state.last_logged
        self._buffered_inputs = state.chunks or None
