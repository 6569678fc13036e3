"""Jobs on a Ray cluster: one task each.

The tasks go to Ray itself and not through joblib's Ray backend, whose pool of actors gives no result before
the last. All nodes need this repository at the same path and the store on a file system that they share. A
task whose worker, node or job died is repeated; records and their locks make that harmless.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import ModuleType

from common.study.errors import StudyError
from common.study.jobs import Job
from common.study.worker import SURROUNDINGS, Limits, Outcome, execute

RETRIES = 3


class DeadJobError(Exception):
    """The process of a job ended without a word; Ray repeats the task."""


def outcomes(
    jobs: Mapping[str, Job], keys: Sequence[str], root: Path, workers: int, limits: Limits, made: float
) -> Iterator[tuple[str, Outcome]]:
    """Run jobs as Ray tasks and yield (key, outcome) as they end.

    Args:
        jobs: Key to job.
        keys: The jobs to run.
        root: Folder of the store.
        workers: Processes of the cluster that is started here; one that RAY_ADDRESS names has its own number.
        limits: Bounds on each job.
        made: When the keys were made, in seconds since the epoch.

    Raises:
        StudyError: Ray is not installed.
    """
    ray = _import_ray()
    local = {} if os.environ.get("RAY_ADDRESS") else {"num_cpus": workers, "include_dashboard": False}
    ray.init(runtime_env={"env_vars": _environment()}, log_to_driver=False, logging_level="ERROR", **local)
    try:
        graphics = int(os.environ.get("REPRISE_DEVICE") == "cuda")
        repeated = {"max_retries": RETRIES, "retry_exceptions": [DeadJobError]}
        task = ray.remote(num_cpus=1, num_gpus=graphics, **repeated)(_attempt)
        waiting = {task.remote(jobs[key], key, root, limits, made): key for key in keys}
        while waiting:
            (done,), _ = ray.wait(list(waiting), num_returns=1)
            yield waiting.pop(done), _result(ray, done)
    finally:
        ray.shutdown()


def _attempt(job: Job, key: str, root: Path, limits: Limits, made: float) -> Outcome:
    outcome = execute(job, key, root, limits, None, made)
    if outcome.died:
        raise DeadJobError(outcome.error)
    return outcome


def _result(ray: ModuleType, task: object) -> Outcome:
    try:
        outcome: Outcome = ray.get(task)
    except DeadJobError as error:  # Ray's error is of both kinds
        return Outcome(f"{error.args[0]} ({RETRIES + 1} attempts)")
    except ray.exceptions.RayError as error:
        return Outcome(f"its Ray worker failed {RETRIES + 1} times: {str(error).splitlines()[0]}")
    return outcome


def _environment() -> dict[str, str]:
    """What the workers have to know of this process."""
    own = {name: value for name, value in os.environ.items() if name.startswith("REPRISE_")}
    return {**SURROUNDINGS, **own}


def _import_ray() -> ModuleType:
    try:
        import ray
    except ModuleNotFoundError as error:
        raise StudyError("BACKEND=ray needs the extra: pip install 'reprise[cluster]'") from error
    return ray
