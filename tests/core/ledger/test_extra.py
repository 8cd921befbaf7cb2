"""What a reservation has beside what it takes is checked, wherever it comes from."""

from __future__ import annotations

import pytest

from slotengine.core.ledger.extra import NOTHING, Extra, Series
from slotengine.errors import InvalidField


def test_nothing_is_kept_of_what_has_nothing() -> None:
    assert Extra().or_none() is None
    assert Extra(tags=("vip",)).or_none() == Extra(tags=("vip",))
    NOTHING.check()
    Extra(series=Series("s", 0)).check()


@pytest.mark.parametrize("series", [Series("", 0), Series("s", -1)])
def test_a_series_that_makes_no_sense_is_refused(series: Series) -> None:
    with pytest.raises(InvalidField, match="series must"):
        Extra(series=series).check()
