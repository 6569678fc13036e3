"""The walls of a full sandbox: the jail of a warm interpreter, and in it a cell for each program.

The jail is a file system of its own, a network of its own, and a user who owns nothing outside. A cell adds
what must not outlive a program: its processes, its shared memory, its scratch directory.
"""

from __future__ import annotations

import os
import resource
import sys
from contextlib import suppress
from pathlib import Path

from common.sandbox import kernel
from common.sandbox.contract import Limits

SCRATCH = "/scratch"
NOBODY = 65534
LIBRARIES = ("/lib", "/lib32", "/lib64", "/usr/lib", "/usr/lib32", "/usr/lib64", "/usr/local/lib")
DEVICES = ("/dev/null", "/dev/zero", "/dev/random", "/dev/urandom")
SHUT = kernel.READ_ONLY | kernel.NO_SUID | kernel.NO_DEVICES
MIB = 2**20


def enter_jail(folder: Path, processes: int) -> None:
    """Leave this machine's files, network and, if this is root, its user for good.

    Args:
        folder: An empty one, over which the new root is mounted; nothing is written to it.
        processes: Descriptor of `/proc`, which stays readable here, and which no program may inherit.

    Raises:
        OSError: the kernel refuses one of the steps, which the error names.
    """
    own = kernel.CLONE_NEWNS | kernel.CLONE_NEWNET | kernel.CLONE_NEWUTS
    user, group = os.geteuid(), os.getegid()
    try:
        kernel.unshare(own)
    except PermissionError:
        kernel.unshare(own | kernel.CLONE_NEWUSER)
        kernel.map_user(processes, user, group)
    kernel.mount("none", "/", None, kernel.MS_REC | kernel.MS_PRIVATE)
    _furnish(str(folder))
    kernel.pivot(str(folder))
    if user == 0:
        with suppress(OSError):  # root of a container without root knows no other user, and is none outside
            kernel.become(NOBODY)


def _furnish(root: str) -> None:
    """A root with the interpreter, system libraries, four devices, and a place for scratch; all read-only."""
    kernel.mount("tmpfs", root, "tmpfs", kernel.MS_NOSUID | kernel.MS_NODEV, "size=1m,mode=755")
    for path in _readable():
        os.makedirs(root + path, exist_ok=True)
        kernel.mount(path, root + path, None, kernel.MS_BIND | kernel.MS_REC)
        kernel.seal(root + path, SHUT, recursive=True)
    os.makedirs(root + SCRATCH)
    os.makedirs(root + "/dev")
    for path in DEVICES:
        Path(root + path).touch()
        kernel.mount(path, root + path, None, kernel.MS_BIND)
        kernel.seal(root + path, kernel.READ_ONLY | kernel.NO_SUID)
    kernel.seal(root, SHUT)


def _readable() -> list[str]:
    """Folders that programs may read: none of them inside another."""
    named = {path for path in (*LIBRARIES, sys.prefix, sys.base_prefix) if Path(path).is_dir()}
    return sorted(path for path in named if not any(str(other) in named for other in Path(path).parents))


def open_cell(processes: int, limits: Limits) -> None:
    """New namespaces for one program; the next child of this process is the first process in it.

    Args:
        processes: Descriptor of `/proc`.
        limits: Of the program.
    """
    user, group = os.geteuid(), os.getegid()
    flags = kernel.CLONE_NEWUSER | kernel.CLONE_NEWNS | kernel.CLONE_NEWPID | kernel.CLONE_NEWIPC
    kernel.unshare(flags)
    kernel.map_user(processes, user, group)
    kernel.write_at(processes, "sys/user/max_user_namespaces", "0")  # no walls within the walls
    closed = kernel.MS_NOSUID | kernel.MS_NODEV | kernel.MS_NOEXEC
    kernel.mount("tmpfs", SCRATCH, "tmpfs", closed, f"size={limits.disk}m,nr_inodes=4096,mode=700")
    os.chdir(SCRATCH)


def lock_cell(processes: int) -> None:
    """Give up, in the first process of a cell, every right to leave it."""
    kernel.write_at(
        processes, "self/oom_score_adj", "1000"
    )  # short of memory, the kernel ends programs first
    kernel.drop_privileges()
    kernel.filter_calls()


def bound(limits: Limits, held: int, apart: bool) -> None:
    """Hold this process and its children to limits.

    Args:
        limits: Of the program.
        held: Bytes of address space that the warm interpreter has.
        apart: They are in a cell. Elsewhere the kernel would count all processes of this user.
    """
    bounds = {
        resource.RLIMIT_CPU: limits.cpu + 1,
        resource.RLIMIT_AS: held + limits.memory * MIB,
        resource.RLIMIT_FSIZE: limits.disk * MIB,
        resource.RLIMIT_NOFILE: limits.files,
        resource.RLIMIT_CORE: 0,
        resource.RLIMIT_MEMLOCK: 0,
        resource.RLIMIT_MSGQUEUE: 0,
        resource.RLIMIT_SIGPENDING: 64,
    }
    if apart:
        bounds[resource.RLIMIT_NPROC] = limits.processes + 2  # the warden and the first process count
    for kind, value in bounds.items():
        hard = resource.getrlimit(kind)[1]
        most = value if hard == resource.RLIM_INFINITY else min(value, hard)
        soft = (
            min(limits.cpu, most) if kind == resource.RLIMIT_CPU else most
        )  # a signal, a second before the end
        resource.setrlimit(kind, (soft, most))
