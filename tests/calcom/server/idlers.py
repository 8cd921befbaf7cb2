"""Many clients that do nothing for a while: ``python -m tests.calcom.server.idlers PORT NUMBER``.

In a process of their own, so that the server's may have as many files as it is
allowed for its ends of the connections.  It says when all are connected; sends
on each what comes then, a line in hexadecimal digits for each of two requests,
in turns; and says how many were answered with 200.
"""

from __future__ import annotations

import socket
import sys
from itertools import cycle

PATIENCE_S = 300
"""Longer than it takes: ten thousand connections, on a busy machine, about a minute."""


def main(port: int, number: int) -> None:
    """Connect, wait to be told, and ask."""
    clients = [socket.create_connection(("127.0.0.1", port), PATIENCE_S) for _ in range(number)]
    say(f"{len(clients)} connected")
    requests = [bytes.fromhex(sys.stdin.readline()) for _ in range(2)]
    for client, request in zip(clients, cycle(requests), strict=False):
        client.sendall(request)
    answers = [client.makefile("rb").readline() for client in clients]
    say(f"{sum(answer.startswith(b'HTTP/1.1 200 ') for answer in answers)} answered")


def say(line: str) -> None:
    """Tell whoever has started this."""
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]))
