"""A README's example, run: as it stands, but for names of the hub and sizes, on a real model from an asset.

`papers/<slug>/example.py` says what is replaced (`REPLACED`), what is drawn (`SHOWN`, e.g. ``trainer loss``:
variable and column of the log, of a trainer or a list ``history``) and writes the data (`prepare`). Logs, a
picture and a manifest go to ``results/<slug>/example``. They show that the code runs on such a model, and at
what cost; a few steps on one seed say nothing about the method.
"""

from __future__ import annotations

import json
import os
import re
import resource
import tempfile
import time
from collections.abc import Mapping
from contextlib import chdir
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType
from typing import Any

import pandas as pd

from common.plotting.style import PALETTE, caption, label, panels, png
from common.study.assets import ASSETS
from common.study.errors import StudyError
from common.study.isolation import cut_network
from common.study.keys import environment
from common.study.models import prepare_model
from common.study.paths import EXAMPLE, papers_root, results_root
from common.study.provenance import machine, origin

MODEL = "smollm2"


def source(slug: str) -> str:
    """The one Python block of the README.

    Raises:
        ValueError: there is none, or several.
    """
    text = (papers_root() / slug / "README.md").read_text(encoding="utf-8")
    (block,) = re.findall(r"^```python\n(.*?)^```$", text, re.DOTALL | re.MULTILINE)
    return str(block)


def adapted(slug: str, replaced: Mapping[str, str]) -> str:
    """The example with each text of `replaced` exchanged.

    Raises:
        ValueError: the example does not hold such a text, or holds it twice.
    """
    code = source(slug)
    for old, new in replaced.items():
        if code.count(old) != 1:
            raise ValueError(f"papers/{slug}/README.md: its example holds {old!r} {code.count(old)} times")
        code = code.replace(old, new)
    return code


def execute(slug: str, replaced: Mapping[str, str]) -> dict[str, Any]:
    """Run the `adapted` example in the current folder; its variables."""
    code = adapted(slug, replaced)
    variables: dict[str, Any] = {"__name__": "__main__"}
    exec(compile(code, f"<example of papers/{slug}/README.md>", "exec"), variables)
    return variables


def run(slug: str) -> Path:
    """Run a paper's example on one thread and write ``results/<slug>/example``; that folder.

    Raises:
        StudyError: the paper has no example, or the model is not installed.
    """
    setting = _setting(slug)
    model = prepare_model(MODEL)
    os.environ["OMP_NUM_THREADS"] = "1"  # before torch is imported
    cut_network()
    start, used = time.perf_counter(), time.process_time()
    with tempfile.TemporaryDirectory() as scratch, chdir(scratch):
        Path(MODEL).symlink_to(model)
        os.environ["HF_DATASETS_CACHE"] = str(Path("cache").absolute())
        setting.prepare()
        variables = execute(slug, setting.REPLACED)
    cost = {
        "seconds": round(time.perf_counter() - start, 1),
        "core_seconds": round(time.process_time() - used, 1),
        "peak_memory_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
    }
    folder = results_root() / slug / EXAMPLE
    folder.mkdir(parents=True, exist_ok=True)
    histories = _histories(variables)
    log = pd.concat([_log(name, history) for name, history in histories.items()])
    log.to_csv(folder / "log.csv", float_format="%.6g", lineterminator="\n")
    _draw(log, setting.SHOWN, slug, folder / "curve.png")
    content = _manifest(slug, setting.REPLACED) | {"cost": cost}
    (folder / "manifest.json").write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
    return folder


def _setting(slug: str) -> ModuleType:
    name = f"papers.{slug}.example"
    if find_spec(name) is None:
        raise StudyError(f"{slug} has no example to run: its README shows no trainer")
    return import_module(name)


def _histories(variables: Mapping[str, Any]) -> dict[str, list[dict[str, float]]]:
    """What the example's trainers logged by their names, and its own list ``history``."""
    states = {name: getattr(value, "state", None) for name, value in variables.items()}
    found = {name: getattr(state, "log_history", None) for name, state in states.items()}
    found = {name: history for name, history in found.items() if history is not None}
    return found | ({"history": variables["history"]} if "history" in variables else {})


def _log(trainer: str, history: list[dict[str, float]]) -> pd.DataFrame:
    """One row a step, without the summary of the run that the trainer logs last."""
    rows = pd.DataFrame([row for row in history if "train_runtime" not in row])
    return rows.groupby("step", as_index=False).first().assign(trainer=trainer).set_index("trainer")


def _manifest(slug: str, replaced: Mapping[str, str]) -> dict[str, Any]:
    asset = ASSETS[MODEL]
    return {
        "paper": slug,
        "model": {"name": MODEL, "package": asset.pin, "file": asset.file, "sha256": asset.sha256},
        "replaced": dict(replaced),
        **origin(),
        "environment": environment(),
        "machine": machine(),
    }


def _draw(log: pd.DataFrame, shown: Mapping[str, str], slug: str, path: Path) -> None:
    figure, axes = panels(len(shown))
    for axis, (what, title) in zip(axes, shown.items(), strict=True):
        trainer, column = what.split()
        curve = log.loc[[trainer]].dropna(subset=[column])
        axis.plot(curve["step"], curve[column], color=PALETTE[0], marker="o", markersize=3)
        label(axis, x="optimizer step", y=title, integer=True)
    caption(
        figure, f"The example of {slug}'s README on SmolLM2-135M (Q4_1), one seed: it runs, no more is said."
    )
    path.write_bytes(png(figure, dpi=110))
