"""``slotengine slots``: what it prints, and what it refuses."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from click.testing import CliRunner

from slotengine.cli import cli

ROOT = Path(__file__).parents[2]
EXAMPLE = str(ROOT / "examples" / "catalog.toml")
NOW = ("--now", "2030-11-01")


def printed(*options: str, catalog: str = EXAMPLE, code: int = 0) -> str:
    wide = {"COLUMNS": "120"}
    result = CliRunner().invoke(cli, ["slots", "--catalog", catalog, *options], env=wide)
    assert result.exit_code == code, result.output
    return result.output


def rows(output: str) -> dict[str, list[str]]:
    """Return the starts of each date; a row may go on in the next line."""
    found: dict[str, list[str]] = {}
    for line in output.splitlines():
        cells = [cell.strip() for cell in line.split("│")]
        if len(cells) < 4:
            continue
        date = cells[1] or list(found)[-1]
        found.setdefault(date, []).extend(cells[3].split())
    return found


def test_a_week_of_an_event_type() -> None:
    output = printed(
        "--event-type", "consultation", "--from", "2030-12-02", "--to", "2030-12-08",
        "--tz", "Europe/Rome", *NOW,
    )  # fmt: skip
    assert "consultation, 60 minutes: 39 slots" in output
    days = rows(output)
    # On Monday somebody comes at 10:00, and nobody works at the weekend.
    assert list(days) == [f"{day} 0{i} Dec 2030" for i, day in enumerate(WEEKDAYS, 2)]
    assert days["Mon 02 Dec 2030"] == [f"{hour:02}:00" for hour in (9, *range(11, 17))]
    assert days["Tue 03 Dec 2030"] == [f"{hour:02}:00" for hour in range(9, 17)]


WEEKDAYS = ("Mon", "Tue", "Wed", "Thu", "Fri")


def test_the_zone_is_that_of_the_dates_and_the_clock() -> None:
    span = ("--from", "2030-12-02", "--to", "2030-12-02")
    utc = rows(printed("--event-type", "2", *span, *NOW))
    assert utc["Mon 02 Dec 2030"][0] == "08:00"
    tokyo = rows(printed("--event-type", "2", *span, "--tz", "Asia/Tokyo", *NOW))
    assert tokyo["Mon 02 Dec 2030"] == ["17:00", "19:00", "20:00", "21:00", "22:00", "23:00"]


def test_a_night_on_which_clocks_go_back() -> None:
    span = ("--from", "2030-10-27T01:30", "--to", "2030-10-27T03:30")
    shown = rows(printed("--event-type", "1", *span, "--tz", "Europe/Rome", "--now", "2030-10-01"))
    assert shown["Sun 27 Oct 2030"] == [
        "01:30+02:00",
        "02:00+02:00",
        "02:30+02:00",
        "02:00+01:00",
        "02:30+01:00",
        "03:00+01:00",
    ]


def test_seats_and_lengths() -> None:
    monday = ("--from", "2030-12-02", "--to", "2030-12-02", *NOW)
    output = printed("--event-type", "evening-class", *monday)
    assert "(seats left/total)" in output
    assert rows(output)["Mon 02 Dec 2030"][0] == "17:00(1/8)"
    longer = printed("--event-type", "anytime", "--length", "45", *monday)
    assert "anytime, 45 minutes: 32 slots" in longer


def test_by_default_it_is_the_coming_week() -> None:
    days = rows(printed("--event-type", "1", "--now", "2030-12-02T10:00Z"))
    assert days["Mon 02 Dec 2030"][0] == "12:00"  # two hours' notice
    assert list(days)[-1] == "Mon 09 Dec 2030"
    assert days["Mon 09 Dec 2030"][-1] == "09:30"
    assert re.search("[0-9]+ slots", printed("--event-type", "1"))


def test_a_clock_with_seconds() -> None:
    """The first candidate loses its seconds, and is dropped if that makes it too soon."""
    on_the_hour = rows(printed("--event-type", "1", "--now", "2030-12-02T10:00:00Z"))
    assert on_the_hour["Mon 02 Dec 2030"][0] == "12:00"
    later = rows(printed("--event-type", "1", "--now", "2030-12-02T10:00:01Z"))
    assert later["Mon 02 Dec 2030"][0] == "12:30"


@pytest.mark.parametrize("now", ["0001-01-01", "9999-12-30"])
def test_at_the_ends_of_the_calendar(now: str) -> None:
    assert "anytime, 30 minutes" in printed("--event-type", "1", "--now", now)
    assert "anytime, 30 minutes" in printed("--event-type", "1", "--from", "9999-12-29", *NOW)


def test_a_slug_that_looks_like_markup(tmp_path: Path) -> None:
    path = tmp_path / "catalog.toml"
    path.write_text(
        '[[users]]\nid = 1\nusername = "user-1"\n'
        '[[eventTypes]]\nid = 1\nslug = "[red]a :smile: [/x]"\nownerId = 1\nlengthInMinutes = 30\n'
    )
    assert "[red]a :smile: [/x], 30 minutes" in printed("--event-type", "1", catalog=str(path))


def test_nothing_free() -> None:
    christmas = ("--from", "2030-12-25", "--to", "2030-12-25", "--tz", "Europe/Rome", *NOW)
    output = printed("--event-type", "2", *christmas)
    assert output == "No 60-minute slots of consultation are free in that time.\n"


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (
            ("--event-type", "nope"),
            "no event type has the id or slug 'nope'; the event types are: 1 (anytime)",
        ),
        (("--event-type", "1", "--tz", "Mars/Phobos"), "is not an IANA time zone: 'Mars/Phobos'"),
        (("--event-type", "1", "--from", "tomorrow"), "'tomorrow' is not a date or time"),
        (("--event-type", "1", "--to", "2030-02-30"), "'2030-02-30' is not a date or time"),
        (("--event-type", "1", "--to", "9999-12-31"), "is not a date or time"),
        (("--event-type", "1", "--from", "2030-12-02", "--to", "2030-12-01"), "after the start"),
        (("--event-type", "1", "--from", "2030-12-02", "--to", "2090-12-01"), "at most"),
        (("--event-type", "2", "--length", "45"), "must be one of 60 minutes, not 45"),
        (("--event-type", "2", "--length", "0"), "1<=x<="),
        (("--event-type", "2", "--length", "99999999999999"), "1<=x<="),
        ((), "Missing option '--event-type'"),
    ],
)
def test_what_is_refused(options: tuple[str, ...], said: str) -> None:
    assert said in printed(*options, *NOW, code=2)


def test_a_slug_of_two_owners_is_not_enough(tmp_path: Path) -> None:
    users = "".join(f'[[users]]\nid = {i}\nusername = "user-{i}"\n' for i in (1, 2))
    types = "".join(
        f'[[eventTypes]]\nid = {i}\nslug = "talk"\nownerId = {i}\nlengthInMinutes = 30\n'
        for i in (1, 2)
    )
    path = tmp_path / "catalog.toml"
    path.write_text(users + types)
    output = printed("--event-type", "talk", catalog=str(path), code=2)
    assert (
        "several event types have the id or slug 'talk'; the event types are: 1 (talk), 2 (talk)"
        in output
    )
    assert "talk, 30 minutes" in printed("--event-type", "2", catalog=str(path))
    path.write_text("nonsense")
    assert "is not a usable catalog" in printed("--event-type", "2", catalog=str(path), code=2)
