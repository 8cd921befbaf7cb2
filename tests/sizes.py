"""How long the random tests look.

In the ordinary run each is short; ``--long`` and the profile "thorough" make them longer.
Coverage never depends on these sizes: examples that are written down reach every line.
"""

from __future__ import annotations

from typing import Final

from hypothesis import settings

ORDINARY: Final = 100
"""Hypothesis' own number of examples, from which on a profile counts as long."""


def machine_size(steps: int) -> settings:
    """Return the settings of a state machine: 30 runs, or as many as a long profile has."""
    examples = settings().max_examples
    return settings(
        max_examples=examples if examples > ORDINARY else min(examples, 30),
        stateful_step_count=steps,
    )
