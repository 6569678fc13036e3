"""Calls of Linux that Python 3.11 does not offer: namespaces, mounts, privileges, a filter of calls."""

from __future__ import annotations

import ctypes
import os
import platform
import struct

CLONE_NEWNS, CLONE_NEWUTS, CLONE_NEWIPC, CLONE_NEWUSER = 0x20000, 0x4000000, 0x8000000, 0x10000000
CLONE_NEWPID, CLONE_NEWNET = 0x20000000, 0x40000000
MS_NOSUID, MS_NODEV, MS_NOEXEC, MS_BIND, MS_REC, MS_PRIVATE = 2, 4, 8, 4096, 16384, 1 << 18
READ_ONLY, NO_SUID, NO_DEVICES = 1, 2, 4  # attributes of `seal`
MNT_DETACH, AT_FDCWD, AT_RECURSIVE = 2, -100, 0x8000
PR_SET_PDEATHSIG, PR_SET_DUMPABLE, PR_SET_CHILD_SUBREAPER = 1, 4, 36
PR_CAPBSET_DROP, PR_SET_NO_NEW_PRIVS, PR_SET_SECCOMP = 24, 38, 22
CAPABILITIES = 64  # more than there are; the kernel refuses the numbers that it does not know
DENIED = {  # system calls: their numbers on x86_64 and aarch64
    **{"ptrace": (101, 117), "process_vm_readv": (310, 270), "process_vm_writev": (311, 271)},
    **{"kcmp": (312, 272), "pidfd_getfd": (438, 438)},  # other processes
    **{"memfd_create": (319, 279), "memfd_secret": (447, 447), "shmget": (29, 194)},
    **{"msgget": (68, 186), "semget": (64, 190)},  # memory that no bound counts, or that stays
    **{"unshare": (272, 97), "setns": (308, 268), "chroot": (161, 51), "pivot_root": (155, 41)},
    **{"mount": (165, 40), "umount2": (166, 39), "mount_setattr": (442, 442), "open_tree": (428, 428)},
    **{"move_mount": (429, 429), "fsopen": (430, 430), "fsconfig": (431, 431), "fsmount": (432, 432)},
    **{"fspick": (433, 433), "open_by_handle_at": (304, 265)},  # the file system
    **{"bpf": (321, 280), "userfaultfd": (323, 282), "perf_event_open": (298, 241), "syslog": (103, 116)},
    **{"io_uring_setup": (425, 425), "io_uring_enter": (426, 426), "io_uring_register": (427, 427)},
    **{"add_key": (248, 217), "request_key": (249, 218), "keyctl": (250, 219), "personality": (135, 92)},
    **{"init_module": (175, 105), "finit_module": (313, 273), "delete_module": (176, 106)},
    **{"kexec_load": (246, 104), "acct": (163, 89)},  # where faults of kernels were found
}
MACHINES = ("x86_64", "aarch64")
SOCKET, CAPSET, PIVOT_ROOT = (41, 198), (126, 91), DENIED["pivot_root"]
AUDIT_ARCH = (0xC000003E, 0xC00000B7)
AF_UNIX = 1  # other families reach beyond: not all of them know network namespaces
X32 = 0x40000000  # a second numbering of calls on x86_64
ALLOW, REFUSE, KILL = 0x7FFF0000, 0x00050001, 0x80000000  # refused with EPERM
LOAD, JUMP_EQUAL, JUMP_AT_LEAST, RETURN = 0x20, 0x15, 0x35, 0x06  # instructions of the filter

NOTHING = (ctypes.c_ulong(0),) * 4
_libc = ctypes.CDLL(None, use_errno=True)


def _check(result: int, what: str) -> None:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}")


def unshare(flags: int) -> None:
    """Move this process of one thread to new namespaces, and its children to a new one of processes."""
    _check(_libc.unshare(flags), f"unshare({flags:#x})")


def mount(source: str, target: str, kind: str | None, flags: int, options: str = "") -> None:
    """mount(2)."""
    encoded = [text if text is None else text.encode() for text in (source, target, kind)]
    _check(_libc.mount(*encoded, ctypes.c_ulong(flags), options.encode()), f"mount {target}")


def seal(target: str, attributes: int, recursive: bool = False) -> None:
    """Give a mount, or all below it, attributes; mount_setattr(2), since 5.12."""
    wanted = struct.pack("QQQQ", attributes, 0, 0, 0)
    how = AT_RECURSIVE if recursive else 0
    result = _libc.syscall(
        DENIED["mount_setattr"][0], AT_FDCWD, target.encode(), how, wanted, ctypes.c_size_t(len(wanted))
    )
    _check(result, f"mount_setattr {target}")


def pivot(new_root: str) -> None:
    """Make a mount the root, and let go of the old one."""
    os.chdir(new_root)
    _check(_libc.syscall(PIVOT_ROOT[_machine()], b".", b"."), f"pivot_root {new_root}")
    _check(_libc.umount2(b".", MNT_DETACH), "umount of the old root")
    os.chdir("/")


def prctl(option: int, *values: int) -> None:
    """prctl(2) with whole numbers."""
    numbers = [*(ctypes.c_ulong(value) for value in values), *NOTHING][:4]
    _check(_libc.prctl(option, *numbers), f"prctl({option})")


def become(user: int) -> None:
    """Leave root for a user who owns nothing; a process of root is not bound in its number of children."""
    os.setgroups([])
    os.setresgid(user, user, user)
    os.setresuid(user, user, user)
    prctl(PR_SET_DUMPABLE, 1)  # or `/proc/self` would stay root's


def map_user(processes: int, user: int, group: int) -> None:
    """In a new user namespace: this user and group stay themselves, and there are no others.

    Args:
        processes: Descriptor of `/proc`.
        user: Effective user id before the namespace.
        group: Effective group id before it.
    """
    write_at(processes, "self/setgroups", "deny")  # the kernel's condition for mapping the group
    write_at(processes, "self/uid_map", f"{user} {user} 1")
    write_at(processes, "self/gid_map", f"{group} {group} 1")


def write_at(folder: int, name: str, text: str) -> None:
    """Write to a file below an open folder."""
    number = os.open(name, os.O_WRONLY, dir_fd=folder)
    try:
        os.write(number, text.encode())
    finally:
        os.close(number)


def drop_privileges() -> None:
    """Give up every capability for good, and with `execve` of whatever program to come back to one."""
    prctl(PR_SET_NO_NEW_PRIVS, 1)
    for number in range(CAPABILITIES):
        try:
            prctl(PR_CAPBSET_DROP, number)
        except OSError:
            break  # the first number that this kernel does not know
    header, none = struct.pack("Ii", 0x20080522, 0), bytes(24)
    _check(_libc.syscall(CAPSET[_machine()], header, none), "capset")


def filter_calls() -> None:
    """Refuse, from here on and in children, `DENIED` calls and sockets to other machines with EPERM.

    Needs `drop_privileges`. A step of the filter is (instruction, steps to skip if true, if false, operand).
    """
    numbers = [call[_machine()] for call in DENIED.values()]
    count = len(numbers)
    steps = [
        (LOAD, 0, 0, 4),  # the machine whose numbers these are
        (JUMP_EQUAL, 1, 0, AUDIT_ARCH[_machine()]),
        (RETURN, 0, 0, KILL),
        (LOAD, 0, 0, 0),  # the number of the call
        (JUMP_AT_LEAST, count + 4, 0, X32),
        *((JUMP_EQUAL, count - index + 3, 0, number) for index, number in enumerate(numbers)),
        (JUMP_EQUAL, 0, 2, SOCKET[_machine()]),
        (LOAD, 0, 0, 16),  # its first argument
        (JUMP_EQUAL, 0, 1, AF_UNIX),
        (RETURN, 0, 0, ALLOW),
        (RETURN, 0, 0, REFUSE),
    ]
    code = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *step) for step in steps))
    program = struct.pack("HxxxxxxP", len(steps), ctypes.addressof(code))
    _check(_libc.prctl(PR_SET_SECCOMP, ctypes.c_ulong(2), program, *NOTHING[:2]), "seccomp")


def _machine() -> int:
    """Its column in the tables of numbers."""
    if platform.machine() not in MACHINES:
        raise OSError(f"the numbers of system calls are known for {MACHINES}, not for {platform.machine()}")
    return MACHINES.index(platform.machine())
