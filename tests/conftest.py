"""Settings for all tests; see README.md for what belongs where."""

from __future__ import annotations

import os

import pytest
from hypothesis import HealthCheck, Phase, settings

collect_ignore = ["mutants.py"]  # it needs the extra "mutation", and has no tests

settings.register_profile("default", deadline=None, suppress_health_check=[HealthCheck.too_slow])
# No test may depend on luck when it decides whether a change lands.
settings.register_profile("ci", settings.get_profile("default"), derandomize=True)
# For the state machines in `tests.long --small`.
settings.register_profile("thorough", settings.get_profile("ci"), max_examples=200)
settings.register_profile("long", settings.get_profile("default"), max_examples=5_000)
# For mutation testing: a mutant is tested by hundreds of tests, so each is short.
settings.register_profile(
    "mutation",
    settings.get_profile("ci"),
    max_examples=10,
    phases=[Phase.explicit, Phase.generate],
    stateful_step_count=30,
    database=None,
)
settings.load_profile(
    os.environ.get("HYPOTHESIS_PROFILE", "ci" if "CI" in os.environ else "default")
)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--long", action="store_true", help="run the random tests, and scans, at their full size"
    )


def pytest_configure(config: pytest.Config) -> None:
    if config.getoption("--long"):
        settings.load_profile("long")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Count no line as covered because a random test or the simulator came by.

    What they reach changes with every constant in the code.  It is also much faster.
    """
    for item in items:
        if item.get_closest_marker("hypothesis") or "simulation" in item.path.parts:
            item.add_marker("no_cover")


@pytest.fixture(scope="session")
def long(request: pytest.FixtureRequest) -> bool:
    """Whether to go through everything, and not only through a part that is always the same."""
    return bool(request.config.getoption("--long"))


@pytest.fixture(autouse=True, scope="session")
def home(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Let what commands keep for their user be kept elsewhere."""
    os.environ["XDG_CONFIG_HOME"] = str(tmp_path_factory.mktemp("home"))
