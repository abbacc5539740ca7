"""The server of warm interpreters outlives clients that end at any moment."""

from __future__ import annotations

import json
import socket
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest


def say_nothing(_client: socket.socket) -> None:
    """A client that was killed after it had connected."""


def say_half(client: socket.socket) -> None:
    """A client that was killed while it stated its order."""
    socket.send_fds(client, [(99).to_bytes(8, "big")], [0, 1, 2])
    client.sendall(b'{"arguments": [')


def leave_with_an_order(client: socket.socket) -> None:
    """A client that was killed before it got the number of its process."""
    order = {"executable": "python", "arguments": ["-c", "import time; time.sleep(60)"], "folder": "/", "environment": {}}
    body = json.dumps(order).encode()
    with Path("/dev/null").open("r+b") as nothing:
        socket.send_fds(client, [len(body).to_bytes(8, "big")], [nothing.fileno()] * 3)
    client.sendall(body)


@pytest.mark.parametrize("talk", [say_nothing, say_half, leave_with_an_order])
def test_clients_that_end_early(warm_python: Path, talk: Callable[[socket.socket], None]) -> None:
    for _ in range(3):
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(str(warm_python.parent / "socket"))
            talk(client)
    found = subprocess.run([warm_python, "-c", "print('here')"], capture_output=True, text=True, timeout=60, check=True)
    assert found.stdout == "here\n"
