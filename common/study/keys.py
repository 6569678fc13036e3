"""The key of a record: everything that can change its numbers, and nothing else."""

from __future__ import annotations

import hashlib
import json
import os
import platform
import sys
from collections.abc import Mapping
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any

from common.study.assets import ASSETS
from common.study.errors import StudyError
from common.study.jobs import Job
from common.study.paths import ROOT
from common.study.sources import Module, Sources

LIBRARIES = ("math-verify", "numpy", "scipy", "torch", "transformers", "trl")
SWITCHES = (
    "ATEN_CPU_CAPABILITY",  # PyTorch: softmax, attention, normalisation
    "CUBLAS_WORKSPACE_CONFIG",
    "DNNL_DEFAULT_FPMATH_MODE",
    "DNNL_MAX_CPU_ISA",
    "MKL_CBWR",
    "MKL_ENABLE_INSTRUCTIONS",
    "NPY_DISABLE_CPU_FEATURES",  # numpy: exp, log, tanh, sin
    "NPY_ENABLE_CPU_FEATURES",
    "NVIDIA_TF32_OVERRIDE",
    "ONEDNN_DEFAULT_FPMATH_MODE",
    "ONEDNN_MAX_CPU_ISA",  # convolutions, bfloat16
    "OPENBLAS_CORETYPE",  # numpy and scipy: products, decompositions
    "TORCH_ALLOW_TF32_CUBLAS_OVERRIDE",
)
"""Variables by which a user makes a library compute in another way on the same machine. Those of threads are
not among them, since a worker sets them."""


def job_key(job: Job, sources: Sources | None = None, device: str = "") -> str:
    """Hash of entry point, configuration, seeds, input contents, environment and reachable source.

    Args:
        job: What is to be computed.
        sources: The repository's modules; by default as this process first saw them.
        device: Where it is computed; by default where this process computes.

    Raises:
        StudyError: an input file or a module is missing.
    """
    sources = sources or current()
    missing = [name for name in (_entry_module(job), *job.modules) if sources.module(name) is None]
    if missing:
        raise StudyError(f"job '{job.describe()}' names {missing[0]}, which is no module of this repository")
    content = {
        "entry": job.entry,
        "config": dict(sorted(job.config.items())),
        "seeds": list(job.seeds),
        "inputs": {name: file_hash(ROOT / name) for name in sorted(job.inputs)},
        "environment": environment(device),
        "source": sources.hash(_entry_module(job)),
        **({"modules": {name: sources.hash(name) for name in job.modules}} if job.modules else {}),
        **({"assets": {name: ASSETS[name].sha256 for name in sorted(job.assets)}} if job.assets else {}),
    }
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:24]


def file_hash(path: Path) -> str:
    """SHA-256 of a file's content.

    Raises:
        StudyError: the file does not exist.
    """
    if not path.is_file():
        raise StudyError(f"input file {path} is missing; for a pocket checkpoint run: make pocket-models")
    return hashlib.sha256(path.read_bytes()).hexdigest()


@cache
def _versions() -> dict[str, str]:
    # 2.13.0+cpu and 2.13.0+cu130 differ in their kernels, so the local part of a version stays in.
    return {name: metadata.version(name) for name in LIBRARIES}


def environment(device: str = "") -> dict[str, Any]:
    """Versions, device, instruction set and dispatch switches: what makes two machines round differently."""
    switches = {name: os.environ[name] for name in SWITCHES if os.environ.get(name)}
    return {
        "python": f"{sys.version_info.major}.{sys.version_info.minor}",
        "versions": _versions(),
        "machine": platform.machine(),
        "isa": instruction_set(),
        "device": device or os.environ.get("REPRISE_DEVICE", "cpu"),
        "threads": 1,
        **({"switches": switches} if switches else {}),
    }


@cache
def instruction_set() -> str:
    """Widest vector extension of this processor that numpy and PyTorch dispatch on."""
    cpuinfo = Path("/proc/cpuinfo")
    flags = cpuinfo.read_text(encoding="utf-8").split("\n\n")[0] if cpuinfo.is_file() else ""
    return next((isa for isa in ("avx512f", "avx2", "asimd") if isa in flags), platform.machine())


@cache
def current() -> Sources:
    """The source as this process first saw it: plan, records and manifest of a run speak of one state."""
    return Sources()


def source_hash(module: str) -> str:
    """Hash of the syntax trees of `module` and of every repository module it reaches.

    Comments, docstrings and formatting are not part of it; `common.study` and `common.plotting` are outside.
    """
    return current().hash(module)


def reachable(module: str) -> set[str]:
    """Repository modules that `module` imports, directly or not, itself included (also inside functions)."""
    return set(current().reachable(module))


def covered(job: Job, sources: Sources) -> dict[str, Module]:
    """Repository modules whose source is in the key of a job."""
    return sources.reachable(_entry_module(job), *job.modules)


def _entry_module(job: Job) -> str:
    return job.entry.partition(":")[0]


def product_name(recipe: Mapping[str, Any], module: str) -> str:
    """Name of something that jobs make once and share: hash of its recipe, of who makes it, and of where.

    Args:
        recipe: JSON-serialisable arguments.
        module: The module that makes it.
    """
    content = [recipe, source_hash(module), environment()]
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:16]
