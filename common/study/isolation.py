"""What the kernel can hold a process to: it ends with its parent, and reaches no other machine.

Imports the standard library only, so that a worker can call it first, while it still has one thread.
"""

from __future__ import annotations

import ctypes
import fcntl
import ipaddress
import os
import signal
import socket
import struct
import sys
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

OFFLINE = {"HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1"}
NAMESPACE, HOOK, OPEN = "network namespace", "audit hook", "open"  # how far a job is kept off the network
NOT_USED = "not used"  # a sandbox for generated code
PR_SET_PDEATHSIG, PR_SET_CHILD_SUBREAPER = 1, 36
CLONE_NEWUSER, CLONE_NEWNET = 0x10000000, 0x40000000
SIOCGIFFLAGS, SIOCSIFFLAGS, IFF_UP = 0x8913, 0x8914, 1
ADDRESSED = ("socket.connect", "socket.bind", "socket.sendto", "socket.sendmsg")
RESOLVED = ("socket.getaddrinfo", "socket.gethostbyname", "socket.gethostbyaddr", "socket.getnameinfo")


def start_worker(run: int, offline: bool) -> None:
    """Prepare a process that will run jobs: it ends with its run, and reaches no other machine.

    Args:
        run: Process id of the run that started it.
        offline: Cut it and its descendants off the network.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the run too, which ends its workers
    end_with(run, signal.SIGTERM)
    if offline:
        cut_network()


def end_with(parent: int, how: signal.Signals) -> None:
    """Have the kernel send `how` to this process when its parent dies, whatever code runs then.

    Elsewhere than on Linux nothing happens. Ends the process if the parent is gone already.
    """
    _prctl(PR_SET_PDEATHSIG, how)
    if os.getppid() != parent:
        os._exit(1)


def adopt_orphans() -> None:
    """Become the parent of descendants whose own parent ends, so that none is lost from sight (Linux)."""
    _prctl(PR_SET_CHILD_SUBREAPER, 1)


def _prctl(option: int, value: int) -> None:
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(option, ctypes.c_ulong(value))


@cache
def cut_network() -> str:
    """Cut this process and its descendants off every other machine; cannot be undone.

    Returns:
        The level reached. `NAMESPACE`: the kernel gives them a network of their own, which holds nothing but
        a loopback. `HOOK`: sockets opened by Python code of this process refuse other machines; subprocesses
        and compiled code are not covered.
    """
    os.environ.update(OFFLINE)
    level = NAMESPACE if _succeeds(_enter_namespace) and _enter_namespace() else HOOK
    sys.addaudithook(_audit)  # in a namespace too: it says why, where the kernel says "unreachable"
    return level


def _succeeds(attempt: Callable[[], bool]) -> bool:
    """True if a step that cannot be undone works in a forked copy of this process."""
    if sys.platform != "linux" or threads() > 1:  # a namespace would hold one thread, not the process
        return False
    copy = os.fork()
    if copy == 0:
        status = 1
        try:
            status = int(not attempt())
        finally:
            os._exit(status)
    return os.waitpid(copy, 0)[1] == 0


def threads() -> int:
    """Threads of this process, those of libraries included (Linux)."""
    return len(os.listdir("/proc/self/task"))


def _enter_namespace() -> bool:
    """Move to a new network namespace and raise its loopback; without root, within a user namespace."""
    user, group = os.geteuid(), os.getegid()
    if _unshare(CLONE_NEWNET):
        _raise_loopback()
        return True
    if not _unshare(CLONE_NEWUSER | CLONE_NEWNET):
        return False
    own = Path("/proc/self")
    (own / "setgroups").write_bytes(b"deny")  # the kernel's condition for mapping the group
    (own / "uid_map").write_bytes(f"{user} {user} 1".encode())
    (own / "gid_map").write_bytes(f"{group} {group} 1".encode())
    _raise_loopback()
    return True


def _unshare(flags: int) -> bool:
    return ctypes.CDLL(None).unshare(flags) == 0


def _raise_loopback() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
        request = struct.pack("16sh14x", b"lo", 0)
        name, flags = struct.unpack("16sh14x", fcntl.ioctl(control, SIOCGIFFLAGS, request))
        fcntl.ioctl(control, SIOCSIFFLAGS, struct.pack("16sh14x", name, flags | IFF_UP))


def _audit(event: str, arguments: tuple[Any, ...]) -> None:
    if event in ADDRESSED and not _stays_here(arguments[0].family, arguments[1]):
        raise PermissionError(f"this profile is offline: {event} to {arguments[1]} refused")
    if event in RESOLVED:
        host = arguments[0][0] if event == "socket.getnameinfo" else arguments[0]
        if not _local(host):
            raise PermissionError(f"this profile is offline: look-up of {host!r} refused")


def _stays_here(family: int, address: Any) -> bool:
    if family in (socket.AF_INET, socket.AF_INET6):
        return address is None or _local(address[0])
    return family in (socket.AF_UNIX, getattr(socket, "AF_NETLINK", socket.AF_UNIX))


def _local(host: str | bytes | None) -> bool:
    """True for this machine; "" and 0.0.0.0 are how a server or an unconnected socket names it."""
    name = host.decode(errors="replace") if isinstance(host, bytes) else host or ""
    if name in ("localhost", ""):
        return True
    try:
        address = ipaddress.ip_address(name)
    except ValueError:
        return False
    return address.is_loopback or address.is_unspecified


_sandboxes: dict[int, str] = {}  # of this process, which runs one job


def note_sandbox(level: int, name: str) -> None:
    """Remember that this process ran generated code at a level of isolation; more is better."""
    _sandboxes[level] = name


def lowest_sandbox() -> str:
    """The name of the lowest level at which this process ran generated code."""
    return _sandboxes[min(_sandboxes)] if _sandboxes else NOT_USED
