"""The server behind nginx, with the settings of the documentation: what a proxy is there for.

Slow heads and bodies, clients that read slowly or have closed their side, and the
address of who calls.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final, NamedTuple

import pytest

ROOT: Final = Path(__file__).parents[2]
SETTINGS: Final = ROOT / "docs" / "proxy" / "nginx.conf"
PATIENCE_S: Final = 60

PATH: Final = "/v2/slots/reservations"
HEADERS: Final = "Host: slots.example\r\ncal-api-version: 2024-09-04\r\n"
BODY: Final = '{"eventTypeId":1,"slotStart":"2050-09-05T10:00:00Z"}'


def request(method: str, path: str, body: str = "", *lines: str) -> bytes:
    more = "".join(f"{line}\r\n" for line in lines)
    length = f"Content-Length: {len(body)}\r\n" if body else ""
    return f"{method} {path} HTTP/1.1\r\n{HEADERS}{more}{length}\r\n{body}".encode()


HOLD: Final = request("POST", PATH, BODY)
READ: Final = request("GET", f"{PATH}/00000000-0000-4000-8000-000000000000")
LONG: Final = request("GET", "/v2/slots?eventTypeId=1&start=2050-01-01&end=2055-01-01&format=range")

MONTHS: Final = LONG.replace(b"2055-01-01", b"2050-04-01")


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        port: int = one.getsockname()[1]
        return port


class Site(NamedTuple):
    """The two servers."""

    port: int
    """nginx's."""
    behind: int
    """slotengine's."""

    def connected(self, port: int | None = None) -> socket.socket:
        return socket.create_connection(("127.0.0.1", port or self.port), PATIENCE_S)

    def answer(self, sent: bytes, *, half_close: bool = False, port: int | None = None) -> bytes:
        """Return all that comes back to a request that is the last of its connection."""
        with self.connected(port) as client:
            client.sendall(sent.replace(b"\r\nHost:", b"\r\nConnection: close\r\nHost:", 1))
            if half_close:
                client.shutdown(socket.SHUT_WR)
            return all_of(client)


def all_of(client: socket.socket) -> bytes:
    received = b""
    with suppress(ConnectionResetError):
        while more := client.recv(1 << 16):
            received += more
    return received


def status_of(answer: bytes) -> int:
    found = re.match(rb"HTTP/1\.1 ([0-9]{3}) ", answer)
    assert found is not None, answer[:200]
    return int(found[1])


def catalog(**limits: object) -> str:
    return json.dumps(
        {
            "users": [{"id": 1, "username": "one"}],
            "eventTypes": [
                {"id": 1, "slug": "one", "ownerId": 1, "lengthInMinutes": 30},
            ],
            "rateLimits": {"addressHeader": "X-Real-IP"} | limits,
        }
    )


@contextmanager
def running(command: list[str], **options: object) -> Iterator[subprocess.Popen[str]]:
    process = subprocess.Popen(command, text=True, cwd=ROOT, **options)  # type: ignore[call-overload]
    with process:  # which closes its pipes
        try:
            yield process
        finally:
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(PATIENCE_S)
            except subprocess.TimeoutExpired:
                process.kill()


@contextmanager
def site(folder: Path, settings: str, **limits: object) -> Iterator[Site]:
    """Run both, nginx with these settings but for the ports."""
    assert shutil.which("nginx"), "nginx is not installed; see packages.txt"
    (folder / "catalog.json").write_text(catalog(**limits))
    serve = [sys.executable, "-m", "slotengine", "serve", "--port", "0"]
    serve += ["--catalog", str(folder / "catalog.json")]
    log = (folder / "serve.log").open("w")
    with log, running(serve, stdout=subprocess.PIPE, stderr=log) as process:
        assert process.stdout is not None
        listening = re.search(r"http://127\.0\.0\.1:([0-9]+)", process.stdout.readline())
        assert listening is not None
        behind, port = int(listening[1]), free_port()
        assert "server 127.0.0.1:8080;" in settings
        assert "listen 80;" in settings
        settings = settings.replace("127.0.0.1:8080", f"127.0.0.1:{behind}")
        settings = settings.replace("listen 80;", f"listen 127.0.0.1:{port};")
        temporary = "".join(
            f"{kind}_temp_path {folder}/{kind};\n"
            for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
        )
        user = "user root;\n" if os.geteuid() == 0 else ""  # or it cannot write its files here
        (folder / "nginx.conf").write_text(
            f"{user}daemon off;\nworker_processes 1;\npid {folder}/nginx.pid;\n"
            f"error_log {folder}/error.log;\nevents {{ worker_connections 512; }}\n"
            f"http {{\naccess_log off;\n{temporary}{settings}\n}}\n"
        )
        with running(["nginx", "-c", str(folder / "nginx.conf"), "-e", f"{folder}/error.log"]):
            wait_for(port)
            yield Site(port, behind)


def wait_for(port: int) -> None:
    until = time.monotonic() + PATIENCE_S
    while True:
        try:
            socket.create_connection(("127.0.0.1", port)).close()
        except ConnectionRefusedError:
            assert time.monotonic() < until, "nginx does not listen"
            time.sleep(0.02)
        else:
            return


def hurried(settings: str) -> str:
    """Return the same settings with timeouts of a second, so that no test waits for long."""
    for name in ("client_header_timeout", "client_body_timeout", "send_timeout"):
        settings, found = re.subn(rf"{name} [0-9]+s;", f"{name} 1s;", settings)
        assert found == 1
    return settings


@pytest.fixture(scope="module")
def documented(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    with site(tmp_path_factory.mktemp("documented"), SETTINGS.read_text(), disabled=True) as it:
        yield it


@pytest.fixture(scope="module")
def impatient(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    settings = hurried(SETTINGS.read_text())
    with site(tmp_path_factory.mktemp("impatient"), settings, disabled=True) as it:
        yield it


# --- The documented settings -----------------------------------------------------------


def hold(start: str, *lines: str) -> bytes:
    return request("POST", PATH, BODY.replace("2050-09-05T10:00:00Z", start), *lines)


def test_requests_are_answered_over_one_connection(documented: Site) -> None:
    with documented.connected() as client:
        for sent, status in ((READ, 200), (hold("2050-09-06T10:00:00Z"), 201), (READ, 200)):
            client.sendall(sent)
            assert status_of(client.recv(1 << 16)) == status


@pytest.mark.parametrize("half_close", [False, True])
def test_who_has_closed_its_side_is_answered(documented: Site, half_close: bool) -> None:
    sent = hold(f"2050-09-07T1{int(half_close)}:00:00Z")
    answer = documented.answer(sent, half_close=half_close)
    assert status_of(answer) == 201
    assert answer.count(b"HTTP/1.1") == 1
    again = documented.answer(sent, half_close=half_close)
    assert status_of(again) == 422  # the hold was made, and told


def test_a_large_answer_to_who_has_closed_its_side(documented: Site) -> None:
    answer = documented.answer(MONTHS, half_close=True)
    assert status_of(answer) == 200
    data = json.loads(answer.partition(b"\r\n\r\n")[2])
    assert data["status"] == "success"


def test_a_body_in_pieces_and_in_chunks(documented: Site) -> None:
    body = BODY.replace("2050-09-05T10:00:00Z", "2050-09-08T10:00:00Z")[:-1]
    body += ',"x":"' + "x" * 40_000 + '"}'
    with documented.connected() as client:
        sent = request("POST", PATH, body)
        for at in range(0, len(sent), 9_000):
            client.sendall(sent[at : at + 9_000])
            time.sleep(0.01)
        assert status_of(client.recv(1 << 16)) == 201
        chunked = request("POST", PATH, "", "Transfer-Encoding: chunked")
        client.sendall(chunked + f"{len(body):x}\r\n{body}\r\n0\r\n\r\n".encode())
        assert status_of(client.recv(1 << 16)) == 422
        client.sendall(READ)
        assert status_of(client.recv(1 << 16)) == 200


@pytest.mark.parametrize("size", [150_000, 3_000_000])
def test_a_body_that_is_too_large_is_refused_by_nginx(documented: Site, size: int) -> None:
    assert status_of(documented.answer(request("POST", PATH, "x" * size))) == 413


def test_a_client_that_waits_to_be_asked(documented: Site) -> None:
    sent = hold("2050-09-09T10:00:00Z", "Expect: 100-continue")
    head, body = sent.split(b"\r\n\r\n")
    with documented.connected() as client:
        client.sendall(head + b"\r\n\r\n")
        assert status_of(client.recv(1 << 16)) == 100
        client.sendall(body)
        assert status_of(client.recv(1 << 16)) == 201


# --- Slow clients ----------------------------------------------------------------------


def test_slow_heads_and_bodies_do_not_reach_the_server(impatient: Site) -> None:
    """Fifty at once, byte by byte, and nobody else waits for them."""
    slow = [impatient.connected() for _ in range(20)]
    try:
        for number, client in enumerate(slow):
            client.sendall(READ[:20] if number % 2 else HOLD[:-10])
        assert status_of(impatient.answer(READ)) == 200
        for number, client in enumerate(slow):
            told = all_of(client)  # after a second without a byte
            assert told == b"" or status_of(told) == 408, number
    finally:
        for client in slow:
            client.close()
    assert status_of(impatient.answer(hold("2050-09-05T10:00:00Z"))) == 201  # none was made


def test_who_reads_slowly_keeps_the_server_from_nothing(impatient: Site) -> None:
    """The server has handed its answer over at once; nginx ends the wait for the client."""
    with socket.socket() as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.settimeout(PATIENCE_S)
        client.connect(("127.0.0.1", impatient.port))
        client.sendall(LONG)
        assert client.recv(100).startswith(b"HTTP/1.1 200 ")
        for _ in range(20):
            assert status_of(impatient.answer(READ)) == 200
            assert status_of(impatient.answer(READ, port=impatient.behind)) == 200
        time.sleep(3)
        length = len(impatient.answer(LONG))
        with suppress(ConnectionResetError):
            assert len(all_of(client)) < length


# --- Who calls -------------------------------------------------------------------------


def test_each_client_is_an_address_of_its_own(tmp_path: Path) -> None:
    """By what nginx says, and not by what a client says."""
    limits = {"address": {"requests": 2}}
    with site(tmp_path, SETTINGS.read_text(), **limits) as it:

        def asks(address: str) -> int:
            with socket.create_connection(
                ("127.0.0.1", it.port), PATIENCE_S, source_address=(address, 0)
            ) as client:
                lie = b"\r\nX-Real-IP: 192.0.2.1\r\nHost:"
                client.sendall(READ.replace(b"\r\nHost:", lie, 1))
                return status_of(client.recv(1 << 16))

        assert [asks("127.0.0.1") for _ in range(3)] == [200, 200, 429]
        assert [asks("127.0.0.2") for _ in range(3)] == [200, 200, 429]
    assert "addressHeader" not in (tmp_path / "serve.log").read_text()


def test_a_proxy_that_the_catalog_does_not_know_is_warned_of(tmp_path: Path) -> None:
    limits = {"addressHeader": "X-Other"}
    with site(tmp_path, SETTINGS.read_text(), **limits) as it:
        for _ in range(3):
            assert status_of(it.answer(READ)) == 200
    said = (tmp_path / "serve.log").read_text()
    assert said.count("X-Real-IP") == 1
    assert "addressHeader" in said


def test_the_server_is_stopped_behind_it(tmp_path: Path) -> None:
    with site(tmp_path, SETTINGS.read_text(), disabled=True) as it:
        assert status_of(it.answer(READ)) == 200
    assert "Traceback" not in (tmp_path / "serve.log").read_text()
