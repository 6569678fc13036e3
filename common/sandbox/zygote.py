"""The warm interpreter: imports what programs need, walls itself in, and forks a warden per program.

Programs are copies of it, so it holds nothing that a program must not know.
"""

from __future__ import annotations

import atexit
import gc
import importlib
import os
import socket
import sys
from pathlib import Path

from common.sandbox.channel import receive, send
from common.sandbox.contract import Level, Limits
from common.sandbox.jail import enter_jail
from common.sandbox.warden import Warden

completed = False  # whether a program has come to its end without an exception; set by the main module


def serve() -> str:
    """Run programs until the other side closes. Returns in the process of a program, with its source.

    Its arguments stand in `sys.argv`: the descriptor of a socket, the level, an empty folder for the new root
    or for scratch directories, and modules to import first.
    """
    atexit.register(leave)
    descriptor, level, folder, *preload = sys.argv[1:]
    sys.path.remove(os.environ.pop("PYTHONPATH"))
    sys.argv[:] = ["program.py"]
    channel = socket.socket(fileno=int(descriptor))
    try:
        processes = os.open("/proc", os.O_RDONLY)
        if Level(int(level)) == Level.FULL:
            enter_jail(Path(folder), processes)
        for name in preload:
            importlib.import_module(name)
    except Exception as error:  # an import is foreign code
        send(channel, {"error": f"{type(error).__name__}: {error}"})
        os._exit(1)
    gc.collect()
    gc.freeze()  # no collection of a program visits, and so copies, what is already there
    send(channel, {"error": ""})
    while True:
        try:
            request = receive(channel)
        except EOFError:
            os._exit(0)
        child = os.fork()
        if child == 0:
            limits = Limits(**request["limits"])
            warden = Warden(channel, processes, Level(int(level)), folder, limits)
            return warden.guard(request["source"], request["stdin"])
        if os.waitpid(child, 0)[1] != 0:
            send(channel, {"error": "the warden of a program ended without an answer"})


def leave() -> None:
    """End a program that completed, at the end of everything that a program can ask for.

    Taking the interpreter apart would cost as much time again, and more with libraries in it.
    """
    if completed:
        for stream in (sys.stdout, sys.__stdout__, sys.stderr):
            try:
                stream.flush()  # type: ignore[union-attr]
            except (AttributeError, OSError, ValueError):
                return  # closed or replaced: the interpreter knows what to say
        os._exit(0)
