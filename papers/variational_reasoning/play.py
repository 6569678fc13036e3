"""What ``method.ipynb`` shows: factors, bounds, weights of traces, and two estimators."""

from __future__ import annotations

from collections.abc import Sequence

import ipywidgets
import numpy as np
import pandas as pd
import torch
from IPython.display import Image, display

from common.plotting.style import GREY, HUES, label, legend, panels, png
from common.tasks.countdown import Question, Teacher
from papers.variational_reasoning.method import (
    Ratio,
    difficulty_factor,
    effective_size,
    log_ratios,
    trace_weights,
    worst_case_variances,
)

LINES = {
    "variational reasoning": ("variational", HUES["orange"]),
    "GRPO": ("grpo", GREY),
    "rejection sampling": ("rft", HUES["blue"]),
}


def picture() -> Image:
    """Factors over P, and norms of the gradient where traces are right or wrong for sure."""
    figure, axes = panels(2, width=3.6)
    chance = torch.linspace(0.01, 0.95, 95, dtype=torch.float64)
    for name, (kind, colour) in LINES.items():
        factor = difficulty_factor(kind, chance)  # type: ignore[arg-type]
        axes[0].plot(chance, factor, color=colour, label=name)
        axes[1].plot(chance, (1 - chance) * factor, color=colour)
    label(axes[0], x="P, the question's chance", y="factor")
    label(axes[1], x="P, the question's chance", y="norm of the gradient")
    legend(figure)
    return Image(data=png(figure), alt="Factors and norms of three methods over the chance of a question")


def weights(
    accuracy: Sequence[float],
    log_policy: Sequence[float],
    log_proposal: Sequence[float],
    lengths: Sequence[int],
) -> pd.DataFrame:
    """Weights of a question's traces with the root, without it, and without a ratio."""
    scores = torch.tensor([accuracy], dtype=torch.float64).log()
    policy, proposal = (torch.tensor([each], dtype=torch.float64) for each in (log_policy, log_proposal))
    ratios: tuple[Ratio, ...] = ("geo", "raw", "none")
    rows = {}
    for ratio in ratios:
        found = trace_weights(log_ratios(policy, proposal, torch.tensor([lengths]), ratio), scores)[0]
        rows[ratio] = [*found.tolist(), float(effective_size(found))]
    names = [*(f"trace {place + 1}" for place in range(len(lengths))), "ESS"]
    return pd.DataFrame(rows, index=names).T.round(3)


def variances(answers: int = 4) -> Image:
    """Worst-case variance of both estimators of Theorem 1 over p."""
    figure, axes = panels(1, width=4.6)
    grid = np.linspace(0, 1, 101)
    likelihood, accuracy = zip(*(worst_case_variances(float(p), answers) for p in grid), strict=True)
    axes[0].plot(grid, likelihood, color=HUES["blue"], label="likelihood of a correct answer")
    axes[0].plot(grid, accuracy, color=HUES["orange"], label="accuracy of an answer")
    axes[0].axvline(1 / answers, color="0.35", lw=0.8)
    axes[0].set_ylim(0, 0.5)
    label(axes[0], x="p", y="variance in the worst case")
    legend(figure)
    return Image(
        data=png(figure), alt="Worst-case variance of two estimators over the chance of a correct answer"
    )


def demonstration(seed: int = 0) -> str:
    """A question, a trace of the teacher and the answer."""
    question = Question((7, 5, 4), 33)
    trace, answer = Teacher()(question, np.random.default_rng(seed))
    return f"{question.text}\n{trace}\n{answer}"


def slider() -> None:
    """The variances for any number of correct answers."""
    answers = ipywidgets.IntSlider(4, 1, 16, description="answers")
    output = ipywidgets.interactive_output(
        lambda **chosen: display(variances(**chosen)), {"answers": answers}
    )
    display(ipywidgets.VBox([answers, output]))
