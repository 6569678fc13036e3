"""Language models that come as assets, where ``MODEL=`` takes a folder or a hub id: their folders.

No torch is imported here: who converts an asset is named, and runs in a process of its own.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from common.study.assets import ASSETS, verified
from common.study.errors import StudyError
from common.study.keys import product_name
from common.study.paths import ROOT, store_root

CONVERTERS = {"smollm2": "common.models.pretrained"}
"""Assets that are language models, and the module that makes a folder of each."""


def model_path(model: str) -> str:
    """What a job is told: the folder of an asset, any other model as it is named."""
    return str(model_folder(model)) if model in CONVERTERS else model


def model_folder(name: str) -> Path:
    """Where the folder of an asset lies or will lie, beside the models that jobs train.

    Its name holds the checksum of the asset, the source of its converter, and versions.
    """
    recipe = {"asset": name, "sha256": ASSETS[name].sha256}
    return store_root().parent / "models" / f"{name}-{product_name(recipe, CONVERTERS[name])}"


def prepare_model(name: str) -> Path:
    """The folder of an asset, made now if it is not there.

    Raises:
        StudyError: the package is not installed or holds another file, or the conversion failed.
    """
    verified(name)
    command = [sys.executable, "-m", CONVERTERS[name]]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode:
        raise StudyError(f"{name} cannot be converted: {done.stderr.strip().splitlines()[-1]}")
    return model_folder(name)
