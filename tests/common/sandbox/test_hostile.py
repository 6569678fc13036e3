"""Programs that try to get out, to stay, or to take more than their share, one way each."""

from __future__ import annotations

import platform
import socket
import time
from dataclasses import replace
from pathlib import Path
from textwrap import dedent

import psutil
import pytest

from common.sandbox.contract import Limits
from tests.common.sandbox.conftest import QUICK, SECRET

CALL = """
    import ctypes, os
    def call(*arguments):
        libc = ctypes.CDLL(None, use_errno=True)
        return libc.syscall(*(ctypes.c_long(one) for one in arguments)), ctypes.get_errno()
    head, all_of_them = (ctypes.c_uint32 * 2)(0x20080522, 0), (ctypes.c_uint32 * 6)(*[0xFFFFFFFF] * 6)
"""
DENIED = {  # what is tried -> the program; each has to raise an error of the system
    "a connection over IPv4": "import socket; socket.create_connection(('1.1.1.1', 80), 1)",
    "a connection over IPv6": "import socket; socket.socket(socket.AF_INET6).connect(('::1', 80))",
    "a datagram over IPv4": "import socket; socket.socket(2, socket.SOCK_DGRAM).sendto(b'', ('1.1.1.1', 53))",
    "a raw socket": "import socket; socket.socket(socket.AF_INET, socket.SOCK_RAW, 1)",
    "a packet socket": "import socket; socket.socket(socket.AF_PACKET, socket.SOCK_RAW)",
    "a netlink socket": "import socket; socket.socket(socket.AF_NETLINK, socket.SOCK_RAW)",
    "a socket to the host of a virtual machine": "import socket; socket.socket(40, socket.SOCK_STREAM)",
    "looking up a name": "import socket; socket.getaddrinfo('example.org', 80)",
    "listening": "import socket; socket.create_server(('127.0.0.1', 0))",
    "listing processes": "import os; os.listdir('/proc')",
    "the environment of the first process": "open('/proc/1/environ').read()",
    "the memory of the first process": "open('/proc/1/mem', 'rb').read(1)",
    "kernel settings": "open('/sys/kernel/hostname').read()",
    "the password file": "open('/etc/passwd').read()",
    "the home directory": "import os; os.listdir('/home')",
    "the temporary files of others": "import os; os.listdir('/var/tmp')",
    "a shell": "import subprocess; subprocess.run(['/bin/sh', '-c', 'id'], check=True)",
    "writing to the root": "open('/outside', 'w')",
    "writing to the interpreter": "import json; open(json.__file__, 'a')",
    "writing beside the libraries": "open('/usr/lib/x.so', 'w')",
    "deleting a library": "import json, os; os.unlink(json.__file__)",
    "a hard link to a library": "import json, os; os.link(json.__file__, 'here')",
    "changing a device": "import os; os.chmod('/dev/null', 0)",
    "making a device": "import os, stat; os.mknod('disk', 0o600 | stat.S_IFBLK, os.makedev(8, 0))",
    "filling shared memory": "open('/dev/shm/x', 'wb').write(bytes(10**9))",
    "a file larger than the disk": "open('x', 'wb').truncate(10**12)",
    "filling the scratch directory": "for i in range(99): open(str(i), 'wb').write(bytes(10**6))",
    "more files than there are inodes": "for i in range(10**5): open(str(i), 'wb').close()",
    "more open files than allowed": "kept = [open(f'{i}', 'w') for i in range(500)]",
    "becoming root": "import os; os.setuid(0)",
    "becoming another user": "import os; os.setresuid(1, 1, 1)",
    "a higher priority": "import os; os.nice(-5)",
    "setting the clock": "import time; time.clock_settime(time.CLOCK_REALTIME, 0)",
    "another root": "import os; os.mkdir('r'); os.chroot('r')",
    "raising a limit": "import resource; resource.setrlimit(resource.RLIMIT_AS, (-1, -1))",
    "executing a file of its own": "import os; os.chmod('program.py', 0o777); os.execv('program.py', ['x'])",
    "memory in a file without a name": "import os; os.memfd_create('x')",
    "a message queue": "import socket; socket.socket(38)",
}
REFUSED = {  # system call: its number on x86_64 and arguments; each has to be refused by EPERM or worse
    "ptrace of the parent": "call(101, 16, os.getppid(), 0, 0)",
    "reading the parent's memory": "call(310, os.getppid(), 0, 0, 0, 0, 0)",
    "new namespaces": "call(272, 0x10000000)",
    "a child in new namespaces": "call(56, 0x10000000 | 17, 0, 0, 0, 0)",
    "a mount": "call(165, 0, 0, 0, 0, 0)",
    "shared memory that stays": "call(29, 0, 1 << 20, 0o1600)",
    "a ring of calls": "call(425, 8, 0)",
    "a program in the kernel": "call(321, 0, 0, 0)",
    "a key that stays": "call(248, 0, 0, 0, 0, -3)",
    "calls in the numbering of x32": "call(0x40000000 + 39)",
    "raising a capability": "call(126, ctypes.addressof(head), ctypes.addressof(all_of_them))",
}


@pytest.mark.parametrize("source", DENIED.values(), ids=DENIED)
def test_is_denied(full, source):
    attempt = f"""try:\n    {source}\nexcept (OSError, ValueError) as error:\n    print("denied")"""
    outcome = full.run(attempt)
    assert (outcome.status, outcome.stdout) == ("ok", "denied\n"), outcome


@pytest.mark.skipif(platform.machine() != "x86_64", reason="the numbers are those of x86_64")
@pytest.mark.parametrize("call", REFUSED.values(), ids=REFUSED)
def test_a_system_call_is_refused(full, call):
    outcome = full.run(dedent(CALL) + f"result, error = {call}\nif result != 0: print(result, error)")
    result, error = outcome.stdout.split()
    assert result == "-1"
    assert int(error) in {1, 28}  # not permitted; no space for a namespace


ROUTES = {
    "by its name": "open(path)",
    "by a symbolic link": "os.symlink(path, 'x'); open('x')",
    "by a hard link": "os.link(path, 'x'); open('x')",
    "by parents": "open('../' * 20 + path)",
    "by a descriptor of a folder": "open(os.open(path[1:], os.O_RDONLY, dir_fd=os.open('/', os.O_RDONLY)))",
}


@pytest.mark.parametrize("route", ROUTES.values(), ids=ROUTES)
def test_a_file_outside_is_not_there(full, tmp_path, route):
    (tmp_path / "secret").write_text(SECRET)
    attempt = f"try:\n    {route}\n    print('read')\nexcept FileNotFoundError:\n    print('not there')"
    source = f"import os\npath = input()\n{attempt}"
    assert full.run(source, stdin=str(tmp_path / "secret")).stdout == "not there\n"


@pytest.mark.parametrize("name", ["{folder}/s", "\0{folder}"], ids=["in a folder", "abstract"])
def test_a_unix_socket_of_this_machine_is_out_of_reach(full, tmp_path, name):
    address = name.format(folder=tmp_path)
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(address)
        server.listen()
        with socket.socket(socket.AF_UNIX) as other:
            other.connect(address)  # it is there
        source = f"import socket; socket.socket(socket.AF_UNIX).connect({address!r})"
        assert "Error" in full.run(source).stderr


def test_the_environment_is_clean(either):
    outcome = either.run("import os, sys; print(dict(os.environ), sys.orig_argv)")
    assert SECRET not in outcome.stdout
    assert outcome.status == "ok"


def test_no_descriptor_is_inherited(either):
    source = """
        import os
        def is_open(number):
            try:
                return bool(os.fstat(number))
            except OSError:
                return False
        print([number for number in range(1024) if is_open(number)])
    """
    assert either.run(dedent(source)).stdout == "[0, 1, 2]\n"


def test_no_name_or_module_of_this_repository_is_in_reach(full):
    assert full.run("import common.study").stderr.endswith(
        "ModuleNotFoundError: No module named 'common.study'\n"
    )
    assert full.run("print([name for name in globals() if not name.startswith('__')])").stdout == "[]\n"


def test_a_fork_bomb_stays_small(full):
    source = """
        import os, time
        count = 0
        try:
            while True:
                if os.fork() == 0:
                    time.sleep(600)
                count += 1
        except BlockingIOError:
            print(count)
    """
    assert full.run(dedent(source)).stdout == f"{QUICK.processes - 1}\n"


def test_an_exponential_fork_bomb_ends_with_its_time(full):
    source = "import os\nwhile True:\n    try: os.fork()\n    except OSError: pass"
    outcome = full.run(source, limits=replace(QUICK, wall=1.0, cpu=10))
    assert outcome.status == "wall"
    assert descendants() == 0


def test_threads_are_counted_too(full):
    source = """
        import threading, time
        try:
            for _ in range(100):
                threading.Thread(target=time.sleep, args=(600,), daemon=True).start()
        except RuntimeError as error:
            print(error)
    """
    assert full.run(dedent(source)).stdout == "can't start new thread\n"


LINGERING = {
    "a child": "import os, time\nif os.fork() == 0: time.sleep(600)",
    "a daemon": """
        import os, time
        if os.fork() == 0:
            os.setsid()
            if os.fork() == 0:
                time.sleep(600)
    """,
    "a daemon that ignores signals": """
        import os, signal, time
        if os.fork() == 0:
            os.setsid()
            for number in set(signal.Signals) - {signal.SIGKILL, signal.SIGSTOP}:
                signal.signal(number, signal.SIG_IGN)
            time.sleep(600)
    """,
    "a daemon without streams": """
        import os, time
        if os.fork() == 0:
            os.setsid()
            os.closerange(0, 3)
            time.sleep(600)
    """,
    "a thread": "import threading as t, time; t.Thread(target=time.sleep, args=(600,), daemon=True).start()",
}


@pytest.mark.parametrize("source", LINGERING.values(), ids=LINGERING)
def test_nothing_outlives_its_dedent(either, source):
    assert (either.run(dedent(source)).status, descendants()) == ("ok", 0)


def test_a_thread_that_does_not_end_meets_the_wall(either):
    source = "import threading, time; threading.Thread(target=time.sleep, args=(600,)).start()"
    assert either.run(source, limits=replace(QUICK, wall=0.5)).status == "wall"


def descendants() -> int:
    """Processes below the warm interpreters of this process, once the last warden has had time to end."""
    count = 1
    for _ in range(2000):
        workers = [one for one in psutil.Process().children() if "sandbox" in command(one)]
        if not (count := sum(len(worker.children(recursive=True)) for worker in workers)):
            break
        time.sleep(0.01)
    return count


def command(process: psutil.Process) -> str:
    """Its command line, empty where it has just ended."""
    try:
        return " ".join(process.cmdline())
    except psutil.Error:
        return ""


OUTPUT = {
    "lines": "while True: print('x')",
    "one line": "import sys\nwhile True: sys.stdout.write('x')",
    "errors": "import sys\nwhile True: print('x', file=sys.stderr)",
    "bytes": "import os\nwhile True: os.write(1, bytes(65536))",
    "a child": "import os\nif os.fork() == 0:\n    while True: os.write(1, b'x' * 100)\nos.wait()",
    "a last word": "print('x' * 10**6)",
}


@pytest.mark.parametrize("source", OUTPUT.values(), ids=OUTPUT)
def test_endless_output_is_cut(either, source):
    outcome = either.run(source)
    assert outcome.status == "output"
    assert len(outcome.stdout) + len(outcome.stderr) <= 2 * QUICK.output
    assert outcome.seconds < QUICK.wall


SIGNALS = {
    "it ignores all signals": (
        "from signal import *\nfor n in set(Signals) - {9, 19}: signal(n, SIG_IGN)\nwhile True: pass",
        "cpu",
    ),
    "it handles its time limit": (
        "import signal\nsignal.signal(signal.SIGXCPU, lambda *_: None)\nwhile True: pass",
        "cpu",
    ),
    "it stops itself": ("import os, signal; os.kill(os.getpid(), signal.SIGSTOP)", "wall"),
    "it kills itself": ("import os; os.kill(os.getpid(), 9)", "signal"),
    "it kills its group": ("import os; os.kill(0, 9)", "signal"),
    "it sleeps": ("import time; time.sleep(600)", "wall"),
    "it waits for input": ("import sys\nwhile True: sys.stdin.read(1)", "cpu"),
    "it crashes": ("import ctypes; ctypes.string_at(0)", "signal"),
    "it aborts": ("import os; os.abort()", "signal"),
    "it recurses": ("def f(): f()\nf()", "failed"),
    "it recurses beyond the stack": (
        "import sys; sys.setrecursionlimit(10**9)\nf = lambda x: f([x].__getitem__(0))\nclass A:\n"
        "    def __getattr__(self, name): return getattr(self, name + 'x')\nA().y",
        "signal failed",
    ),
    "it takes memory": ("x = []\nwhile True: x.append(bytes(10**6))", "failed"),
    "it maps shared memory": ("import mmap; x = [mmap.mmap(-1, 10**7) for _ in range(100)]", "failed"),
    "it takes memory by copying": ("x = bytearray(10**5)\nwhile True: x = x + x", "failed"),
    "its source is deep": ("(" * 3000, "failed signal"),
    "its source holds a null": ("print(1)\0", "failed"),
    "its source is no text": ("print('\ud800')", "refused"),
    "it is one large number": ("x = 9 ** 9 ** 9", "cpu failed"),
}


@pytest.mark.parametrize(("source", "statuses"), SIGNALS.values(), ids=SIGNALS)
def test_its_end_has_a_name(either, source, statuses):
    outcome = either.run(source, limits=replace(QUICK, wall=1.0) if statuses == "wall" else QUICK)
    assert outcome.status in statuses.split(), outcome
    assert either.run("print('next')").stdout == "next\n"


KILLS = {
    "its parent": "os.kill(os.getppid(), 9)",
    "the first process": "os.kill(1, 9)",
    "everything": "os.kill(-1, 9)",
    "the group of its parent": "os.killpg(os.getpgid(os.getppid()), 9)",
    "every number": "[os.kill(n, 9) for n in range(1, 9999) if n != os.getpid() and is_there(n)]",
}


@pytest.mark.parametrize("kill", KILLS.values(), ids=KILLS)
def test_it_can_kill_nobody_but_itself(full, kill):
    before = full._workers[0].process.pid
    there = "def is_there(n):\n    try: os.kill(n, 0)\n    except OSError: return False\n    return True\n"
    outcome = full.run(f"import os\n{there}try: {kill}\nexcept OSError: pass\nprint('still here')")
    assert outcome.stdout in {"still here\n", ""}
    assert full._workers[0].process.pid == before
    assert full.run("print('next')").stdout == "next\n"


EXITS = {
    "sys.exit()": ("import sys; sys.exit()", 0),
    "a number": ("import sys; sys.exit(3)", 3),
    "a text": ("import sys; sys.exit('why')", 1),
    "a negative number": ("raise SystemExit(-1)", 255),
    "a multiple of 256": ("raise SystemExit(256)", 0),
    "at once": ("import os; os._exit(7)", 7),
    "quit": ("quit(4)", 4),
    "in a thread": ("import sys, threading; t = threading.Thread(target=sys.exit, args=(3,)); t.start()", 0),
    "an interrupt": ("raise KeyboardInterrupt", -2),
    "an exception": ("raise ValueError", 1),
    "a new interpreter": ("import os, sys; os.execv(sys.executable, ['python', '-c', 'exit(5)'])", 5),
    "in the end": ("import atexit, os; atexit.register(os._exit, 6)", 6),
}


@pytest.mark.parametrize(("source", "code"), EXITS.values(), ids=EXITS)
def test_the_exit_code_is_the_programs(either, source, code):
    outcome = either.run(source)
    assert outcome.code == code
    assert outcome.status == ("signal" if code < 0 else "failed" if code else "ok")


def test_a_new_interpreter_is_bound_too(full):
    source = """
        import subprocess, sys
        inner = "try:\\n    open('/etc/passwd')\\nexcept OSError:\\n    print('denied')\\nbytes(10**9)"
        done = subprocess.run([sys.executable, "-c", inner], capture_output=True, text=True)
        print(done.stdout, done.stderr)
    """
    outcome = full.run(dedent(source), limits=Limits(wall=120.0, memory=256))
    assert outcome.stdout.startswith("denied")
    assert "MemoryError" in outcome.stdout


STREAMS = {
    "it closes its output": "import os; os.close(1); os.close(2)",
    "it reads beyond the end": "import sys; assert sys.stdin.read() == 'one'; assert sys.stdin.read() == ''",
    "it writes to its input": "import os; os.write(0, b'x' * 100)",
    "it writes no text": "import os; os.write(1, bytes(range(256)))",
    "it tells what came of it": """print('\\0\\0\\0\\2{}{"status": "ok"}')""",
}


@pytest.mark.parametrize("source", STREAMS.values(), ids=STREAMS)
def test_streams_do_not_confuse_the_warden(either, source):
    assert either.run(source, stdin="one").status == "ok"
    assert either.run("print(1)").stdout == "1\n"


def test_a_program_finds_nothing_of_the_one_before(either):
    before = """
        import builtins, json, os, sys
        builtins.len = json.dumps = sys.path = None
        open("left", "w").write("x")
        os.environ["LEFT"] = "x"
    """
    either.run(dedent(before))
    after = "import json, os; print(len(json.dumps(1)), os.listdir(), 'LEFT' in os.environ)"
    assert either.run(after).stdout == "1 ['program.py'] False\n"


def test_scratch_directories_below_full_isolation_are_removed(limits):
    folder = limits.run("import os; open('x', 'w'); print(os.getcwd())").stdout.strip()
    assert not Path(folder).exists()
