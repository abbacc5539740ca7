"""Stands for a Python process: `client.py SOCKET EXECUTABLE [-P] (-m MODULE | -c CODE) ARGUMENTS…`.

Hands its streams, environment and folder to the server, passes signals on, and ends as the child does.
"""

import json
import os
import resource
import signal
import socket
import sys

address, executable, *arguments = sys.argv[1:]
try:
    folder = os.getcwd()  # noqa: PTH109
except FileNotFoundError:
    folder = "/"
order = {"executable": executable, "arguments": arguments, "folder": folder, "environment": dict(os.environ)}
body = json.dumps(order).encode()
with socket.socket(socket.AF_UNIX) as server:
    server.connect(address)
    socket.send_fds(server, [len(body).to_bytes(8, "big")], [0, 1, 2])
    server.sendall(body)
    reader = server.makefile("rb")
    child = int(reader.readline())
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda received, _frame: os.kill(child, received))
    status = int(reader.readline())
if os.WIFSIGNALED(status):
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    signal.signal(os.WTERMSIG(status), signal.SIG_DFL) if os.WTERMSIG(status) != signal.SIGKILL else None
    os.kill(os.getpid(), os.WTERMSIG(status))
os._exit(os.WEXITSTATUS(status))
