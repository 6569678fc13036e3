"""Make ``.venv`` from the pinned requirements; standard library only, run by the system's Python.

Usage: python3 bootstrap.py

Two first runs at once take turns: a file lock guards the folder. A marker with the hash of the pins and the
place is written last, so a killed installation is done again, a changed ``requirements.lock`` is installed,
and an environment that was copied or moved with its checkout, whose scripts and editable install still name
the old place, is made anew.
"""

import contextlib
import hashlib
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import IO

ROOT = Path(__file__).resolve().parent
MINIMUM = (3, 11)
DEFINING = ("requirements.lock", "pyproject.toml", "common/study/assets.py")


def main() -> None:
    """Install unless the environment is already what the lock file says."""
    if sys.version_info < MINIMUM:
        found = ".".join(map(str, sys.version_info[:2]))
        fail(
            f"Python {found} is too old: Reprise needs 3.11 or newer; set PYTHON=python3.11 (make PYTHON=...)"
        )
    state = ROOT / ".reprise"
    state.mkdir(exist_ok=True)
    with locked(state / "setup.lock"):
        if not is_current():
            install(state / "setup.log")


def is_current() -> bool:
    """True if ``.venv`` was completed from this very lock file."""
    return marker() == [wanted(), str(ROOT)] and (ROOT / ".venv/bin/reprise").exists()


def marker() -> list[str]:
    """What ``.venv`` was completed from: a hash of the pins, and the folder of the checkout; empty if not."""
    path = ROOT / ".venv" / ".complete"
    return path.read_text().splitlines() if path.is_file() else []


def wanted() -> str:
    """Hash of what defines the environment."""
    content = [(ROOT / name).read_bytes() for name in DEFINING]
    return hashlib.sha256(b"".join(content)).hexdigest()


def install(log: Path) -> None:
    """Create the environment and install the pins and this repository."""
    venv = ROOT / ".venv"
    is_foreign = marker()[1:] not in ([], [str(ROOT)])
    if is_foreign:
        print(f".venv was made in {marker()[1]} and works only there: it is made anew", flush=True)
    print("setting up .venv with the pinned packages, a few minutes (log: .reprise/setup.log)", flush=True)
    if venv.is_symlink():  # of a copied link, only the link is ours
        venv.unlink()
    elif is_foreign or not (venv / "bin" / "python").exists():
        shutil.rmtree(venv, ignore_errors=True)
    with log.open("w") as out:
        run(
            [sys.executable, "-m", "venv", str(venv)],
            out,
            "python3-venv seems to be missing: apt install python3-venv",
        )
        pip = [str(venv / "bin" / "python"), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        hint = (
            "installing failed; see .reprise/setup.log (no network? no disk space?) and run the command again"
        )
        run([*pip, "-r", str(ROOT / "requirements.lock")], out, hint)
        run([*pip, "--no-deps", "--editable", str(ROOT)], out, hint)
        bring_assets(venv, out)
    (venv / ".complete").write_text(f"{wanted()}\n{ROOT}\n")


def bring_assets(venv: Path, out: IO[str]) -> None:
    """Install the real models; what an index lacks is one line and no failure."""
    command = [str(venv / "bin" / "python"), "-m", "common.study.cli", "assets"]
    if subprocess.run(command, cwd=ROOT, stderr=out, check=False).returncode:
        print(
            "the real models could not be installed (.reprise/setup.log): make assets tries again", flush=True
        )


def run(command: list[str], out: IO[str], hint: str) -> None:
    """Run one step; on failure print the hint and stop."""
    if subprocess.run(command, stdout=out, stderr=out, check=False).returncode:
        fail(hint)


@contextlib.contextmanager
def locked(path: Path) -> Iterator[None]:
    """Exclusive lock, released when the process ends however it ends."""
    import fcntl

    with path.open("w") as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            print("another set-up is running; waiting for it", flush=True)
            fcntl.flock(handle, fcntl.LOCK_EX)
        yield


def fail(message: str) -> None:
    """Print one clear line and exit with status 1."""
    sys.exit(f"error: {message}")


if __name__ == "__main__":
    os.chdir(ROOT)
    main()
