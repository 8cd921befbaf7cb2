"""Files that are truncated, costly or arbitrary: each is read, or refused with our own error."""

from __future__ import annotations

import codecs
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from slotengine import BadCalendar
from slotengine.core.time.schedule import FixedWindows
from slotengine.ical import MAX_PROBLEMS, BusyTime, Problem, busy_spans
from slotengine.ical import series as series_module
from tests.ical.texts import (
    END,
    GOOD,
    GOOD_SPAN,
    HOUR,
    NINE,
    START,
    TWO_NAMES,
    calendar,
    days,
    event,
    read,
    shown,
)

OFFICE: Final = (Path(__file__).parents[1] / "data" / "office.ics").read_bytes()

# --- Whole files -------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text",
    [
        calendar(event("SUMMARY:caf\u00e9", "DTSTART:20300109T090000Z", HOUR)).encode("latin-1"),
        calendar(GOOD).encode("utf-16"),
        codecs.BOM_UTF16_BE + calendar(GOOD).encode("utf-16-be"),
        calendar(GOOD).encode("utf-16-le"),
        codecs.BOM_UTF8 + calendar(GOOD).encode(),
        calendar(GOOD).encode().replace(b"DTSTART", b"DTS\0TART"),
        calendar(GOOD).replace("\r\n", "\r"),
        calendar(GOOD).replace("\r\n", "\r\r\n"),
        calendar(GOOD).replace("DTSTART", "DTSTA\r\n RT").replace(":2030", "\r\n\t:2030"),
        "   \n" + calendar(GOOD),
        "Content-Type: text/calendar\n\n" + calendar(GOOD),
        calendar(GOOD).replace("SION:2.0", "SION:2.0\r\nBEGIN:VTODO\r\nDTSTART:x\r\nEND:VTODO"),
        calendar("BEGIN:X-ALL", GOOD, "END:X-ALL"),
        calendar(event("SUMMARY:\u2028BEGIN:VEVENT\x0bEND", "DTSTART:20300109T090000Z", HOUR)),
        calendar(GOOD) + "\ud800",
    ],
)  # fmt: skip
def test_how_a_file_is_written_makes_no_difference(text: str | bytes) -> None:
    busy = read(text)
    assert shown(busy) == [GOOD_SPAN]
    assert busy.complete


@pytest.mark.parametrize(
    "text",
    ["", " \r\n", b"\0", "<html></html>", "DTSTART:20300109T090000Z", "BEGIN:VCARD\nEND:VCARD",
     b"\x1f\x8b\x08\x00" + bytes(range(256)), "END:VCALENDAR", "BEGIN:VCALEN"],
)  # fmt: skip
def test_what_is_no_calendar_is_refused(text: str | bytes) -> None:
    with pytest.raises(BadCalendar, match=r"the file: it is (empty|not iCalendar text)"):
        read(text)


@pytest.mark.parametrize("step", range(7))
def test_a_file_that_is_cut_short_says_what_is_there(step: int, long: bool) -> None:
    whole = busy_spans(OFFICE, datetime(2026, 1, 1, tzinfo=UTC), END, zone="Europe/Rome")
    assert whole.complete
    cuts = range(
        len("BEGIN:VCALENDAR") + step, OFFICE.rindex(b"END:VCALENDAR") + 13, 7 if long else 35
    )
    seen = 0
    for cut in cuts:
        busy = busy_spans(OFFICE[:cut], datetime(2026, 1, 1, tzinfo=UTC), END, zone="Europe/Rome")
        assert not busy.complete
        assert any("it is truncated: END:" in each.problem for each in busy.problems)
        seen = max(seen, len(busy.spans))
        with pytest.raises(BadCalendar, match=r"truncated|cannot be read"):
            busy_spans(OFFICE[:cut], START, END, strict=True)
    assert seen >= len(whole.spans)


def test_a_file_whose_beginning_is_missing_says_what_is_there() -> None:
    busy = read(GOOD + "\nEND:VCALENDAR")
    assert (shown(busy), busy.complete) == ([GOOD_SPAN], False)
    assert "BEGIN:VCALENDAR is missing" in str(busy.problems[0])


def test_a_calendar_that_breaks_off_before_the_next_one_is_not_complete() -> None:
    busy = read(calendar(GOOD).removesuffix("END:VCALENDAR\r\n") + calendar(event(NINE, HOUR)))
    assert shown(busy) == ["01-09 08:00 to 01-09 10:00"]
    assert not busy.complete


def test_no_more_problems_are_kept_than_so_many() -> None:
    bad = event("DTSTART:x", "DTSTART:y")
    busy = read(calendar(*[bad] * MAX_PROBLEMS, GOOD))
    assert len(busy.problems) == MAX_PROBLEMS
    assert shown(busy) == [GOOD_SPAN]


def test_why_a_file_is_not_complete_is_told_however_many_problems_there_are() -> None:
    text = calendar(*[event("DTSTART:never", uid=str(number)) for number in range(MAX_PROBLEMS)])
    rule = event(NINE, HOUR, "RRULE:FREQ=DAILY", uid="rule")
    busy = busy_spans(text + calendar(rule), START, END, max_events=10)
    assert (len(busy.problems), busy.complete) == (MAX_PROBLEMS, False)
    assert busy.problems[-1].problem == "it takes too much work, given max_events"


def test_a_problem_says_where_it_is() -> None:
    nameless = event("DTEND:x", "DTSTART:20300209T090000Z").replace("UID:e\n", "")
    busy = read(calendar(GOOD, nameless))
    assert busy.problems == [
        Problem(
            "event number 2", 9, "DTEND cannot be read: 'x'",
            "it lasts a day, unless something else says how long",
        )
    ]  # fmt: skip


@pytest.mark.parametrize("error", [OverflowError, RecursionError, AssertionError, KeyError])
def test_what_nobody_thought_of_takes_only_its_event(
    error: type[Exception], monkeypatch: pytest.MonkeyPatch
) -> None:
    real = series_module.start_clocks

    def broken(event: object, *rest: object) -> object:
        if getattr(event, "uid", "") == "odd":
            raise error
        return real(event, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(series_module, "start_clocks", broken)
    text = calendar(event(NINE, HOUR, uid="odd"), GOOD)
    busy = read(text)
    assert (shown(busy), busy.complete) == ([GOOD_SPAN], False)
    assert "event 'odd', line 3: it cannot be evaluated" in str(busy.problems[0])
    with pytest.raises(BadCalendar, match="event 'odd'"):
        busy_spans(text, START, END, strict=True)


# --- Cost --------------------------------------------------------------------------------

UNITS: Final = (("HOUR", 24), ("MINUTE", 60), ("SECOND", 60))
ALL_TIMES: Final = ";".join(f"BY{unit}={','.join(map(str, range(count)))}" for unit, count in UNITS)
ENDLESS: Final = {
    "every second": "FREQ=SECONDLY",
    "every second of 30 February": "FREQ=SECONDLY;BYMONTH=2;BYMONTHDAY=30;COUNT=2",
    "every minute": "FREQ=MINUTELY",
    "30 February": "FREQ=DAILY;BYMONTH=2;BYMONTHDAY=30;COUNT=2",
    "the Monday that is a Tuesday": "FREQ=DAILY;INTERVAL=7;BYDAY=MO;COUNT=2",
    "every second of a year": f"FREQ=YEARLY;BYDAY=MO,TU,WE,TH,FR,SA,SU;{ALL_TIMES}",
    "the last second of a year": f"FREQ=YEARLY;BYDAY=MO,TU,WE,TH,FR;BYSETPOS=-1;{ALL_TIMES}",
    "every second of every day": f"FREQ=DAILY;{ALL_TIMES}",
    "every second of every hour": "FREQ=HOURLY;" + ALL_TIMES.partition(";")[2],
    "a step that meets no minute": "FREQ=SECONDLY;INTERVAL=61;BYMINUTE=1;BYSECOND=1,3",
}


@pytest.mark.parametrize("rule", ENDLESS.values(), ids=ENDLESS)
def test_when_the_budget_is_spent_what_was_found_stands(rule: str) -> None:
    endless = event("DTSTART:19300101T000000Z", "DURATION:PT1S", f"RRULE:{rule}")
    text = calendar(endless, GOOD)
    busy = busy_spans(text, START, END, max_events=5_000)
    assert not busy.complete
    assert GOOD_SPAN in shown(busy) or len(busy.spans) > 1  # what has no rule costs nothing
    assert "event 'e', line 3: it takes too much work, given max_events" in str(busy.problems[0])
    assert busy == busy_spans(text, START, END, max_events=5_000)
    with pytest.raises(BadCalendar, match=r"event 'e'.*too much"):
        busy_spans(text, START, END, max_events=5_000, strict=True)


@pytest.mark.parametrize("rules", [1, 5])
def test_a_zone_that_costs_more_than_there_is_takes_only_what_names_it(rules: int) -> None:
    """This includes events that use it only to say which instance they describe."""
    zone = TWO_NAMES.replace(
        "END:STANDARD", "RRULE:FREQ=SECONDLY;BYMONTH=2;BYMONTHDAY=30\n" * rules + "END:STANDARD"
    )
    single = event("RECURRENCE-ID;TZID=Two:20300109T120000", NINE, HOUR)
    for max_events in (1, 5, 1_000):
        text = calendar(zone, single, GOOD)
        busy = busy_spans(text, START, END, max_events=max_events)
        assert (shown(busy), busy.complete) == ([GOOD_SPAN], False)
        assert busy.problems[-1].problem == "it takes too much work, given max_events"
        with pytest.raises(BadCalendar):
            busy_spans(text, START, END, max_events=max_events, strict=True)


def test_rules_that_never_match_cost_little() -> None:
    rules = "FREQ=YEARLY;BYMONTH=2;BYMONTHDAY=30"
    never = [event(NINE, HOUR, f"RRULE:{rules}", uid=str(number)) for number in range(62)]
    busy = busy_spans(calendar(*never), START, END, zone="Europe/Rome", max_events=1_000)
    assert (shown(busy), busy.complete) == (days("01-09"), True)


def test_the_events_of_a_file_share_the_budget() -> None:
    daily = [event(NINE, HOUR, "RRULE:FREQ=DAILY", uid=str(number)) for number in range(4)]
    assert busy_spans(calendar(daily[0]), START, END, max_events=800).complete
    busy = busy_spans(calendar(*daily), START, END, max_events=800)
    assert not busy.complete
    assert len(busy.spans) == 357


STARTS: Final = [f"DTSTART:20300109T09{number:02}00Z" for number in range(60)]
REPEATED: Final = {
    "starts and ends": event(*STARTS, *(each.replace("START", "END") for each in STARTS)),
    "starts and dates left out": event(HOUR, *STARTS, "EXDATE" + ",20300109T093000Z" * 60),
    "starts and instances": event(HOUR, *STARTS, "RRULE:FREQ=DAILY;COUNT=3")
    + "".join(
        "\n" + event(each, each.replace("DTSTART", "RECURRENCE-ID"), HOUR) for each in STARTS
    ),
    "lengths and instances": event(
        STARTS[0], *(f"DURATION:PT{number}M" for number in range(1, 60)), "RRULE:FREQ=DAILY"
    ),
}


@pytest.mark.parametrize("repeated", REPEATED.values(), ids=REPEATED)
def test_what_is_there_many_times_is_paid_for(repeated: str) -> None:
    """Repeated properties combine, so their cost, which grows quadratically, counts as steps."""
    text = calendar(repeated.replace("EXDATE,", "EXDATE:"), GOOD)
    busy = busy_spans(text, START, END, max_events=2_500)
    assert not busy.complete
    assert busy.spans
    assert busy_spans(text, START, END, max_events=100_000).complete


def test_what_is_free_costs_nothing() -> None:
    rule = "RRULE:FREQ=SECONDLY"
    for free in ("TRANSP:TRANSPARENT", "STATUS:CANCELLED", "X-A:1"):
        text = calendar(event("DTSTART:19800101T000000Z", rule, free))
        assert busy_spans(text, START, END, max_events=1) == ([], [], True)


def test_components_can_lie_deep_within_each_other() -> None:
    deep = 30_000
    text = calendar("BEGIN:X\n" * deep + GOOD + "\nBEGIN:VEVENT" * 1_000 + "\nEND:X" * deep)
    assert GOOD_SPAN in shown(read(text))


# --- Arbitrary texts ---------------------------------------------------------------------

LINES: Final = OFFICE.decode().splitlines(keepends=True)
JUNK: Final = st.text('0123456789TZP/;:=,-+XBEGINDTSTART\r\n "\\\u00e9\x00', max_size=8)
SPRING: Final = datetime(2026, 3, 2, tzinfo=UTC), datetime(2026, 4, 7, tzinfo=UTC)
VALUES: Final = st.sampled_from(
    ["99991231T235959Z", "00010101T000000", "P999999999W", "-P1D", "PT999999999S", "20260229",
     "FREQ=YEARLY;BYWEEKNO=53;BYDAY=2MO,-53SU", "FREQ=HOURLY;INTERVAL=999999999", "9" * 5_000,
     "FREQ=SECONDLY;COUNT=999999999", "FREQ=YEARLY;BYYEARDAY=-366;UNTIL=99991231", "20260303/P1D",
     "99991231T235959/PT9H,00010101/00010101", "THISANDFUTURE", "DECLINED", "DAYLIGHT", "+2359",
     "/a/b/c/d/Europe/Rome", "(UTC+23:59) X, Rome, Y", "GMT-99", "..", "Europe", "\U0001f600"]
)  # fmt: skip


def spans_of(busy: BusyTime) -> FixedWindows:
    return FixedWindows.between(*busy.spans)


def check(text: str | bytes) -> None:
    for zone in ("Pacific/Apia", None):
        try:
            busy = busy_spans(text, *SPRING, zone=zone, owner="a@example.org", max_events=2_000)
        except BadCalendar:
            return
        edges = [moment for span in busy.spans for moment in span]
        assert edges == sorted(set(edges))
        assert all(SPRING[0] <= moment <= SPRING[1] for moment in edges)
        assert "cannot be worked out" not in str(busy.problems)
        try:
            strict = busy_spans(text, *SPRING, zone=zone, max_events=2_000, strict=True)
        except BadCalendar:
            assert busy.problems
        else:
            assert busy.problems == []
            assert busy.complete
            assert all(
                spans_of(busy).covers(*map(int, (a.timestamp() * 1e6, b.timestamp() * 1e6)))
                for a, b in strict.spans
            )


@given(st.lists(st.tuples(st.integers(0, len(LINES) - 1), st.integers(0, 60), JUNK), max_size=4))
def test_a_text_is_read_or_refused(changes: list[tuple[int, int, str]]) -> None:
    """For any text, the outcome is a result or our own error."""
    lines = list(LINES)
    for line, place, junk in changes:
        lines[line] = lines[line][:place] + junk + lines[line][place + len(junk) :]
    check("".join(lines))


@given(st.lists(st.tuples(st.integers(0, len(LINES) - 1), VALUES), min_size=1, max_size=4))
def test_values_at_the_edge_are_read_or_refused(changes: list[tuple[int, str]]) -> None:
    lines = list(LINES)
    for line, value in changes:
        name, colon, _ = lines[line].rpartition(":")
        lines[line] = f"{name}{colon}{value}\r\n"
    check("".join(lines))


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["delete", "repeat", "swap", "cut"]),
            st.integers(0, len(LINES) - 1),
            st.integers(0, len(LINES) - 1),
        ),
        max_size=5,
    )
)
def test_lines_in_disorder_are_read_or_refused(changes: list[tuple[str, int, int]]) -> None:
    lines = list(LINES)
    for change, one, other in changes:
        one, other = one % max(len(lines), 1), other % max(len(lines), 1)
        if not lines:
            break
        if change == "delete":
            del lines[one]
        elif change == "repeat":
            lines.insert(other, lines[one])
        elif change == "swap":
            lines[one], lines[other] = lines[other], lines[one]
        else:
            lines = lines[: one + 1]
    check("".join(lines))


@given(st.binary(max_size=300), st.integers(0, len(OFFICE)))
def test_bytes_are_read_or_refused(junk: bytes, place: int) -> None:
    check(OFFICE[:place] + junk + OFFICE[place:])


def test_a_range_of_all_time_is_read() -> None:
    first, last = datetime.min.replace(tzinfo=UTC), datetime.max.replace(tzinfo=UTC)
    for line in ("DTSTART:99991231T235959Z", "DTSTART;VALUE=DATE:99991231", "DTSTART:00010101"):
        for rule in ("FREQ=DAILY", "FREQ=YEARLY;BYWEEKNO=1,53", "FREQ=MONTHLY;BYDAY=-1MO"):
            text = calendar(event(line, "DURATION:P9W", f"RRULE:{rule}"))
            for zone in ("Pacific/Kiritimati", "Pacific/Pago_Pago"):
                busy = busy_spans(text, first, last, zone=zone, max_events=50_000)
                assert "cannot be worked out" not in str(busy.problems)
