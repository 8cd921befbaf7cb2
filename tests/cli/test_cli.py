"""The command, as a real process."""

from __future__ import annotations

import contextlib
import json
import re
import shlex
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import pytest
from click.testing import CliRunner

from slotengine import __version__
from slotengine.calcom.catalog.secrets import fingerprint
from slotengine.cli import cli
from slotengine.cli.serve import default_calendar_folder

ROOT = Path(__file__).parents[2]
EXAMPLE = ROOT / "examples" / "catalog.toml"
COMMAND = [sys.executable, "-m", "slotengine"]


Running = AbstractContextManager[tuple[subprocess.Popen[str], str]]


def serving(*options: str) -> Running:
    return running([*COMMAND, "serve", "--catalog", str(EXAMPLE), "--port", "0", *options])


def serving_on_uvloop() -> Running:
    """Run a server on another event loop than the command does."""
    return serving_with(new_loop="uvloop.new_event_loop", imports="uvloop")


def serving_with(*, imports: str = "asyncio", **options: float | str) -> Running:
    """Run a server with what the command has no option for."""
    said = "".join(f", {name}={value}" for name, value in options.items())
    program = (
        f"import {imports}\n"
        "from slotengine.calcom.catalog.load import load_catalog\n"
        "from slotengine.calcom.server import serve\n"
        "def say(line): print(line, flush=True)\n"
        f"serve(load_catalog({str(EXAMPLE)!r}), port=0, announce=say{said})"
    )
    return running([sys.executable, "-c", program])


def refused(*options: str) -> tuple[int, str, str]:
    """Run a command that ends by itself, and return its exit code and what it said."""
    ended = subprocess.run(
        [*COMMAND, "serve", *options],
        cwd=ROOT, capture_output=True, text=True, check=False, timeout=30,
    )  # fmt: skip
    assert "Traceback" not in ended.stderr
    return ended.returncode, ended.stdout, ended.stderr


def connected(line: str) -> socket.socket:
    port = int(url_in(line).rpartition(":")[2])
    return socket.create_connection(("127.0.0.1", port), timeout=30)


@contextmanager
def running(command: list[str]) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """Run a server, and give it with the line that it prints once it listens."""
    with subprocess.Popen(
        command, cwd=ROOT, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        try:
            yield process, process.stdout.readline()
        finally:
            process.kill()


def url_in(line: str) -> str:
    match = re.search(r"http://127\.0\.0\.1:[1-9][0-9]*", line)
    assert match is not None
    return match[0]


def post(url: str, **body: object) -> tuple[int, Any]:
    headers = {
        "cal-api-version": "2024-09-04",
        "Content-Type": "application/json",
        "Authorization": "Bearer cal_example_front_desk",
    }
    request = Request(
        f"{url}/v2/slots/reservations", json.dumps(body).encode(), headers, method="POST"
    )
    try:
        with urlopen(request) as response:
            return response.status, json.load(response)
    except HTTPError as error:
        with error:
            return error.code, json.load(error)


def end_of(process: subprocess.Popen[str]) -> tuple[int, str]:
    """Return the exit code, and what was said on stderr."""
    _, said = process.communicate(timeout=30)
    return process.returncode, said


LOOPS: list[Callable[[], Running]] = [serving]
if sys.platform != "win32":  # where there is no uvloop
    LOOPS.append(serving_on_uvloop)
on_each_loop = pytest.mark.parametrize("serving", LOOPS)


@on_each_loop
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_serve_the_documented_request_until_stopped(
    number: signal.Signals, serving: Callable[[], Running]
) -> None:
    with serving() as (process, line):
        documented = {
            "eventTypeId": 1,
            "slotStart": "2050-09-05T10:00:00Z",
            "slotDuration": "30",
            "reservationDuration": 5,
        }
        status, answer = post(url_in(line), **documented)
        assert status == 201
        assert answer["data"]["slotEnd"] == "2050-09-05T10:30:00.000Z"
        status, answer = post(url_in(line), **documented)
        assert status == 422
        process.send_signal(number)
        assert end_of(process) == (0, "")


def test_the_printed_command_works_as_it_is() -> None:
    with serving() as (_, line):
        arguments = shlex.split(line.partition("try: ")[2])
        assert arguments[:4] == ["curl", "--request", "POST", "--url"]
        url, headers, data = arguments[4], arguments[6:9:2], arguments[10]
        assert [arguments[5], arguments[7], arguments[9]] == ["--header", "--header", "--data"]
        request = Request(
            url, data.encode(), dict(header.split(": ") for header in headers), method="POST"
        )
        with urlopen(request) as response:
            assert response.status == 201


@pytest.mark.parametrize(("option", "status"), [(None, 422), ("--no-enforce-availability", 201)])
def test_availability(option: str | None, status: int) -> None:
    with serving(*filter(None, [option])) as (_, line):
        sunday, past = "2050-09-04T10:00:00Z", "2001-01-01"
        assert post(url_in(line), eventTypeId=2, slotStart=sunday)[0] == status
        assert post(url_in(line), eventTypeId=1, slotStart=past)[0] == status


UNDER_WAY = (
    b"POST /v2/slots/reservations HTTP/1.1\r\nHost: x\r\ncal-api-version: 2024-09-04\r\n"
    b"Expect: 100-continue\r\nContent-Length: %d\r\n\r\n"
)
"""The head of a request; that the server asks for the body shows that it is being handled."""


@on_each_loop
def test_a_request_under_way_is_finished(serving: Callable[[], Running]) -> None:
    body = b'{"eventTypeId":1,"slotStart":"2050-09-05T10:00"}'
    with serving() as (process, line):
        with connected(line) as connection:
            connection.sendall(UNDER_WAY % len(body))
            assert connection.recv(1000).startswith(b"HTTP/1.1 100 ")  # it is being handled
            process.send_signal(signal.SIGTERM)
            wait_until_refused(connection.getpeername()[1])
            connection.sendall(body)
            assert connection.recv(10_000).startswith(b"HTTP/1.1 201 ")
        code, _ = end_of(process)  # CPython 3.13.0 says something about connections of its own
        assert code == 0


def test_a_request_that_does_not_end_is_not_waited_for_forever() -> None:
    with serving_with(grace_s=0.1) as (process, line), connected(line) as connection:
        connection.sendall(UNDER_WAY % 1000)
        assert connection.recv(1000).startswith(b"HTTP/1.1 100 ")
        process.send_signal(signal.SIGTERM)
        answer = all_of(connection)
        assert answer.startswith(b"HTTP/1.1 503 ")
        assert b'"code":"ServiceUnavailableException"' in answer
        assert end_of(process) == (0, "")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_second_signal_ends_the_wait(number: signal.Signals) -> None:
    with serving_with(grace_s=1000) as (process, line), connected(line) as connection:
        connection.sendall(UNDER_WAY % 1000)
        assert connection.recv(1000).startswith(b"HTTP/1.1 100 ")
        process.send_signal(signal.SIGTERM)
        wait_until_refused(connection.getpeername()[1])
        process.send_signal(number)
        assert all_of(connection).startswith(b"HTTP/1.1 503 ")
        # CPython 3.13.0 has something to say of its own about a transport cut short.
        assert end_of(process)[0] == 0


NO_REQUESTS = [
    b"nonsense\r\n\r\n",
    b"BREW / HTTP/1.1\r\nHost: x\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: x\r\nX: " + b"x" * 9_000 + b"\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: x\r\nnonsense\r\n\r\n",
    b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nnonsense\r\n",
]


@on_each_loop
def test_what_is_no_request_is_refused_and_is_no_error(
    serving: Callable[[], Running],
) -> None:
    with serving() as (process, line):
        for sent in NO_REQUESTS:
            with connected(line) as connection:
                connection.sendall(sent)
                answer = all_of(connection)
            assert re.match(rb"HTTP/1\.[01] 400 ", answer)
            assert len(re.findall(rb"HTTP/1\.[01] ", answer)) == 1
        process.send_signal(signal.SIGTERM)
        assert end_of(process) == (0, "")


def test_brotli_is_not_decoded_whether_or_not_there_is_a_decoder() -> None:
    with serving() as (_, line), connected(line) as connection:
        connection.sendall(
            b"POST /v2/slots/reservations HTTP/1.1\r\nHost: x\r\ncal-api-version: 2024-09-04\r\n"
            b"Connection: close\r\nContent-Encoding: br\r\nContent-Length: 1\r\n\r\nx"
        )
        assert re.match(rb"HTTP/1\.[01] 415 ", all_of(connection))


def all_of(connection: socket.socket) -> bytes:
    """Return what comes until the other side closes."""
    received = b""
    with contextlib.suppress(ConnectionResetError):  # it has not read all that was sent
        while more := connection.recv(10_000):
            received += more
    return received


@pytest.mark.parametrize(("host", "shown"), [("0.0.0.0", "127.0.0.1"), ("::", "[::1]"), ("", "")])
def test_the_printed_address_can_be_opened(host: str, shown: str) -> None:
    if host == "::" and not has_ipv6():
        assert_no_ipv6([*COMMAND, "serve"])
        return
    with serving("--host", host) as (_, line):
        match = re.search(r"http://(\S+):([0-9]+) ", line)
        assert match is not None
        assert match[1] == shown or (not host and match[1] in {"127.0.0.1", "[::1]"})
        socket.create_connection((match[1].strip("[]"), int(match[2])), timeout=30).close()


def has_ipv6() -> bool:
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError:
        return False
    return True


WITHOUT_IPV6 = """
import socket
class Socket(socket.socket):
    def __init__(self, family=-1, *more, **options):
        if family == socket.AF_INET6:
            raise OSError(97, "Address family not supported by protocol")
        super().__init__(family, *more, **options)
socket.socket = Socket
from slotengine.cli import cli
cli()
"""


def test_a_machine_without_ipv6_says_so() -> None:
    assert_no_ipv6([sys.executable, "-c", WITHOUT_IPV6, "serve"])


def assert_no_ipv6(command: list[str]) -> None:
    ended = subprocess.run(
        [*command, "--catalog", str(EXAMPLE), "--port", "0", "--host", "::"],
        cwd=ROOT, capture_output=True, text=True, check=False, timeout=30,
    )  # fmt: skip
    assert ended.returncode == 1
    assert "Traceback" not in ended.stderr
    assert "Error: cannot listen on :::0: " in ended.stderr


def test_a_catalog_with_nothing_to_reserve_has_no_command_to_try(tmp_path: Path) -> None:
    path = tmp_path / "empty.json"
    path.write_text("{}", encoding="utf-8")
    with running([*COMMAND, "serve", "--catalog", str(path), "--port", "0"]) as (_, line):
        assert "curl" not in line
        assert "the catalog has no event types" in line


def busy_at_ten(catalog: Path, copies: Path) -> tuple[bool, str]:
    """Serve a catalog, and return whether its user is busy at 10:00, and what stderr says."""
    options = "--catalog", str(catalog), "--port", "0", "--keep-calendars", str(copies)
    with running([*COMMAND, "serve", *options]) as (process, line):
        status, _ = post(url_in(line), eventTypeId=1, slotStart="2030-09-02T10:00:00Z")
        process.terminate()
        code, said = end_of(process)
        assert code == 0
    assert status in (201, 422)
    return status == 422, said


def test_a_calendar_that_is_cut_short_frees_nothing_over_a_restart(tmp_path: Path) -> None:
    catalog, calendar, copies = tmp_path / "a.toml", tmp_path / "a.ics", tmp_path / "copies"
    catalog.write_text(
        "[[users]]\nid = 1\nusername = 'a'\ncalendars = ['a.ics']\n"
        f"apiKeys = ['{fingerprint('cal_example_front_desk')}']\n"
        "[[eventTypes]]\nid = 1\nslug = 'visit'\nownerId = 1\nlengthInMinutes = 30\n",
        encoding="utf-8",
    )
    whole = (
        "BEGIN:VCALENDAR\nBEGIN:VEVENT\nDTSTART:20300901T090000Z\nDURATION:PT1H\nEND:VEVENT\n"
        "BEGIN:VEVENT\nDTSTART:20300902T100000Z\nDURATION:PT1H\nEND:VEVENT\nEND:VCALENDAR\n"
    )
    calendar.write_text(whole, encoding="utf-8")
    assert busy_at_ten(catalog, copies) == (True, "")
    for text in (whole[:110], "", "<html></html>"):
        calendar.write_text(text, encoding="utf-8")
        busy, said = busy_at_ten(catalog, copies)
        assert busy
        assert "its last complete copy counts as well" in said
        assert "Traceback" not in said
    calendar.write_text(whole[:110], encoding="utf-8")
    busy, said = busy_at_ten(catalog, tmp_path / "other")
    assert not busy
    assert "takes too much work); there is no copy of it" in said
    calendar.write_text("", encoding="utf-8")
    code, _, said = refused("--catalog", str(catalog), "--keep-calendars", str(tmp_path / "other"))
    assert code == 2
    assert "users[0].calendars[0]: 'a.ics' cannot be read: the file: it is empty" in said


def test_copies_of_calendars_are_not_kept_for_a_user_without_a_home(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """As in a container: nothing called "~" appears in the folder it runs in."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    assert default_calendar_folder() == tmp_path / "slotengine" / "calendars"
    monkeypatch.setenv("XDG_CONFIG_HOME", "~nobody-of-that-name/.config")
    assert default_calendar_folder() is None


def wait_until_refused(port: int) -> None:
    """Return once nobody accepts connections there any more."""
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=30).close()
        except OSError:
            return


def test_a_wrong_catalog_exits_with_2(tmp_path: Path) -> None:
    path = tmp_path / "wrong.toml"
    path.write_text('[[users]]\nid = 1\n[[eventTypes]]\nid = 1\nslug = "a"\n', encoding="utf-8")
    code, printed, said = refused("--catalog", str(path))
    assert (code, printed) == (2, "")
    assert said.startswith(f"Error: {path} is not a usable catalog:")
    for problem in ("users[0].username: is missing", "eventTypes[0].lengthInMinutes: is missing"):
        assert problem in said


@pytest.mark.parametrize(
    "arguments",
    [
        ["serve"],
        ["serve", "--catalog", "there-is-none.toml"],
        ["serve", "--catalog", str(ROOT)],
        ["serve", "--catalog", str(EXAMPLE), "--port", "65536"],
        ["serve", "--catalog", str(EXAMPLE), "--colour"],
        ["nonsense"],
    ],
)
def test_wrong_arguments_exit_with_2(arguments: list[str]) -> None:
    result = CliRunner().invoke(cli, arguments)
    assert result.exit_code == 2
    assert "Error: " in result.output


def test_a_port_that_is_in_use_exits_with_1() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        code, _, said = refused("--catalog", str(EXAMPLE), "--port", port)
    assert code == 1
    assert f"cannot listen on 127.0.0.1:{port}" in said


@pytest.mark.parametrize("host", ["a..b", "x" * 100, "203.0.113.1"])
def test_a_host_that_is_none_of_this_machine_exits_with_1(host: str) -> None:
    code, _, said = refused("--catalog", str(EXAMPLE), "--host", host)
    assert code == 1
    assert f"cannot listen on {host}:8080" in said


def test_version_and_help() -> None:
    version = CliRunner().invoke(cli, ["--version"])
    assert (version.exit_code, version.output) == (0, f"slotengine, version {__version__}\n")
    usage = CliRunner().invoke(cli, ["serve", "-h"])
    assert usage.exit_code == 0
    assert "--catalog" in usage.output
