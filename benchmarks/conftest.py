"""What a saved baseline of pytest-benchmark says about its machine: no host name."""

from __future__ import annotations

from typing import Any


def pytest_benchmark_update_machine_info(config: object, machine_info: dict[str, Any]) -> None:
    machine_info.pop("node", None)


def pytest_benchmark_update_commit_info(config: object, commit_info: dict[str, Any]) -> None:
    for name in ("project", "branch"):
        commit_info.pop(name, None)
