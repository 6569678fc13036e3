"""Messages between a sandbox and its warm interpreter: JSON behind its length."""

from __future__ import annotations

import json
import socket
import struct
from typing import Any

LENGTH = struct.Struct("!I")


def send(channel: socket.socket, message: Any) -> None:
    """One message."""
    content = json.dumps(message).encode()
    channel.sendall(LENGTH.pack(len(content)) + content)


def receive(channel: socket.socket) -> Any:
    """The next message.

    Raises:
        EOFError: the other side is gone.
    """
    (length,) = LENGTH.unpack(_exactly(channel, LENGTH.size))
    return json.loads(_exactly(channel, length))


def _exactly(channel: socket.socket, count: int) -> bytes:
    parts = bytearray()
    while len(parts) < count:
        part = channel.recv(count - len(parts))
        if not part:
            raise EOFError("the other side ended")
        parts += part
    return bytes(parts)
