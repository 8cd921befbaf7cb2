"""From a file to a catalog: what cannot be read, and what the tables come to mean."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from slotengine import ALWAYS_OPEN, Policy, Seats, minutes
from slotengine.calcom.catalog_file import CatalogError, catalog_from, load_catalog
from slotengine.core.instant import to_us
from slotengine.core.schedule import AllOf

EXAMPLE = Path(__file__).parents[2] / "examples" / "catalog.toml"
MONDAY = datetime(2030, 9, 2, tzinfo=UTC)

# --- Reading ---------------------------------------------------------------------------


def test_what_is_right_becomes_a_catalog(right: dict[str, Any]) -> None:
    assert repr(catalog_from(right)) == "<Catalog: 4 event types, 3 users, 2 bookings>"


@pytest.mark.parametrize("raw", [None, [], "text", 7])
def test_what_is_no_table_is_refused(raw: object) -> None:
    with pytest.raises(CatalogError) as caught:
        catalog_from(raw)
    assert caught.value.problems == (("", "must be a table"),)


def test_the_example_is_right() -> None:
    assert load_catalog(EXAMPLE).event_types.keys() == set(range(1, 9))


def test_json_says_the_same_as_toml(tmp_path: Path) -> None:
    raw = tomllib.loads(EXAMPLE.read_text(encoding="utf-8"))
    path = tmp_path / "catalog.JSON"
    path.write_text(json.dumps(raw), encoding="utf-8")
    from_json, from_toml = load_catalog(path), load_catalog(str(EXAMPLE))
    assert from_json.event_types == from_toml.event_types
    assert from_json.resources == from_toml.resources
    assert from_json.bookings == from_toml.bookings


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("a.toml", b"users = [", "cannot be read: "),
        ("a.toml", b"\xff", "cannot be read: "),
        ("a.toml", b"a = " + b"[" * 5000, "cannot be read: "),
        ("a.json", b"{", "cannot be read: "),
        ("a.json", b"[" * 100_000, "cannot be read: "),
        ("a.json", b"[]", "must be a table"),
        ("a.json", b'{"users": [{"id": 1}]}', "users[0].username: is missing"),
    ],
)
def test_a_file_that_cannot_be_used(tmp_path: Path, name: str, content: bytes, reason: str) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(CatalogError) as caught:
        load_catalog(path)
    assert str(caught.value).startswith(f"{path} is not a usable catalog:\n  {reason}")


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    for path in (tmp_path / "none.toml", tmp_path):
        with pytest.raises(CatalogError) as caught:
            load_catalog(path)
        assert caught.value.file == str(path)


SECRETS = ("cal_one", "cal_two", "token-one", "oauth-secret")


def test_secrets_are_shown_nowhere(right: dict[str, Any]) -> None:
    catalog = catalog_from(right)
    shown = [repr(catalog), repr(catalog.api_keys), repr(catalog.access_tokens)]
    shown += [repr(client) for client in catalog.oauth_clients.values()]

    right["users"][0]["apiKeys"] = "cal_one"
    right["users"][1]["accessTokens"] = [{"token": ["token-one"]}, {"token": "token-one", "a": 1}]
    right["oauthClients"][0]["secret"] = {"value": "oauth-secret"}
    with pytest.raises(CatalogError) as caught:
        catalog_from(right)
    shown += [str(caught.value), repr(caught.value)]
    assert len(caught.value.problems) == 4
    assert not [secret for secret in SECRETS for text in shown if secret in text]


# --- Event types -----------------------------------------------------------------------


def team_type(*hosts: Mapping[str, object], **fields: object) -> dict[str, object]:
    kind = {"teamId": 10, "schedulingType": "roundRobin", "hosts": list(hosts)}
    return {"id": 9, "slug": "another", "lengthInMinutes": 30} | kind | fields


def test_an_individual_event_type(right: dict[str, Any]) -> None:
    solo = catalog_from(right).event_types[1]
    (request,) = solo.requests(MONDAY, minutes(15), ttl=minutes(5), in_hours=True)
    assert [claim.resource for claim in request.claims] == ["user:1"]
    assert (request.event_type, request.ttl, request.schedule) == ("1", minutes(5), None)
    assert (solo.length, solo.lengths) == (30, (15, 30))
    (anytime,) = solo.requests(MONDAY, minutes(15), ttl=None, in_hours=False)
    assert anytime.schedule is ALWAYS_OPEN


def test_seats_and_buffers(right: dict[str, Any]) -> None:
    (request,) = (
        catalog_from(right).event_types[4].requests(MONDAY, minutes(60), ttl=None, in_hours=True)
    )
    assert request.seats == Seats(total=3, wanted=1)
    assert (request.claims[0].before, request.claims[0].after) == (minutes(15), minutes(30))


def test_who_could_take_a_slot(right: dict[str, Any]) -> None:
    right["users"] += [{"id": 4, "username": "four"}]
    right["teams"][0]["members"] = [{"userId": user["id"]} for user in right["users"]]
    one, two, three, four = (dict[str, object](userId=number) for number in (1, 2, 3, 4))

    def hosts_of(*hosts: Mapping[str, object], **fields: object) -> list[list[str]]:
        right["eventTypes"][4:] = [team_type(*hosts, **fields)]
        made = catalog_from(right).event_types[9]
        return [[claim.resource for claim in candidate.claims] for candidate in made.candidates]

    assert hosts_of(one, two, schedulingType="collective") == [["user:1", "user:2"]]
    assert hosts_of(one, two) == [["user:1"], ["user:2"]]
    fixed = two | {"mandatory": True}
    assert hosts_of(one, fixed, three) == [["user:2", "user:1"], ["user:2", "user:3"]]
    assert hosts_of(fixed) == [["user:2"]]
    a, b = dict[str, object](groupId="a"), dict[str, object](groupId="b")
    assert hosts_of(one | a, two | b, three | a, four) == [
        ["user:1", "user:2", "user:4"],
        ["user:3", "user:2", "user:4"],
    ]


def test_weights(right: dict[str, Any]) -> None:
    right["eventTypes"] += [team_type({"userId": 1, "weight": 300}, {"userId": 2})]
    catalog = catalog_from(right)
    assert catalog.event_types[3].policy is Policy.LEAST_LOADED
    assert catalog.event_types[9].policy is Policy.WEIGHTED
    assert catalog.event_types[9].weights == (300, 100)


def test_whose_hours_count(right: dict[str, Any]) -> None:
    """The event type's schedule; else those chosen for its hosts; else their own."""

    def candidates(**fields: object) -> list[object]:
        hosts = {"userId": 1}, {"userId": 2, "scheduleId": 2}
        right["eventTypes"][4:] = [team_type(*hosts, **fields)]
        return [candidate.schedule for candidate in catalog_from(right).event_types[9].candidates]

    one = catalog_from(right).resources["user:1"]
    assert candidates(scheduleId=1) == [one, one]
    own, chosen = candidates()
    assert own is None
    assert isinstance(chosen, AllOf)
    (both,) = candidates(schedulingType="collective")
    assert both == AllOf((one, *chosen.schedules))  # type: ignore[arg-type]


def test_who_is_away_has_no_hours(right: dict[str, Any]) -> None:
    right["users"][0]["outOfOffice"] = [{"start": "2030-09-02", "end": "2030-09-02"}]
    right["users"][1]["defaultScheduleId"] = 1
    resources = catalog_from(right).resources
    one, two = resources["user:1"], resources["user:2"]
    assert one is not None
    assert two is not None
    day = to_us(MONDAY), to_us(MONDAY + timedelta(days=1))
    assert len(list(two.windows(*day))) == 1
    assert list(one.windows(*day)) == []


# --- Credentials -----------------------------------------------------------------------


def test_who_may_choose_durations(right: dict[str, Any]) -> None:
    event_types = catalog_from(right).event_types
    assert event_types[1].permitted == {1, 2}  # the owner, and who shares the team
    assert event_types[4].permitted == {1, 2}
    assert event_types[2].permitted == {1, 2, 3}  # the team, and its organization


def test_credentials_are_found_by_what_was_sent(right: dict[str, Any]) -> None:
    catalog = catalog_from(right)
    assert catalog.api_keys.find("cal_one") == 1
    assert catalog.api_keys.find("cal_two") == 2
    assert catalog.api_keys.find("cal_three") is None
    token = catalog.access_tokens.find("token-one")
    assert token is not None
    assert token.user_id == 1
    assert token.origins == frozenset({"https://platform.example"})
    assert catalog.oauth_clients["platform"].secret.find("oauth-secret")
    assert not catalog.oauth_clients["platform"].secret.find("oauth-secret2")


# --- Bookings --------------------------------------------------------------------------


def test_bookings_as_toml_writes_them() -> None:
    raw = tomllib.loads(
        """
        users = [{ id = 1, username = "one" }]
        eventTypes = [{ id = 1, slug = "one", ownerId = 1, lengthInMinutes = 30 }]
        [[bookings]]
        uid = "a"
        eventTypeId = 1
        start = 2030-09-02T12:00:00+02:00
        end = 2030-09-02T11:00:00
        [[bookings]]
        uid = "b"
        eventTypeId = 1
        start = 2030-09-03
        end = 2030-09-04
        """
    )
    assert [(each.start, each.length) for each in catalog_from(raw).bookings] == [
        (MONDAY.replace(hour=10), timedelta(hours=1)),
        (MONDAY + timedelta(days=1), timedelta(days=1)),
    ]


def test_who_has_a_booking(right: dict[str, Any]) -> None:
    """Who is named; else the owner, or all hosts."""
    times = {"start": "2030-10-01", "end": "2030-10-02"}
    right["bookings"] = [
        {"uid": "a", "eventTypeId": 2, "hostIds": [2]} | times,
        {"uid": "b", "eventTypeId": 1} | times,
        {"uid": "c", "eventTypeId": 2, "start": "2030-11-01", "end": "2030-11-02"},
    ]
    bookings = catalog_from(right).bookings
    assert [[claim.resource for claim in each.claims] for each in bookings] == [
        ["user:2"],
        ["user:1"],
        ["user:1", "user:2"],
    ]


def test_a_key_that_is_given_twice_is_refused_in_json_too(tmp_path: Path) -> None:
    path = tmp_path / "twice.json"
    path.write_text('{"users": [{"id": 1, "username": "a", "id": 2}]}', encoding="utf-8")
    with pytest.raises(CatalogError, match="the key 'id' is given twice"):
        load_catalog(path)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("marked.json", '{"users": [{"id": 1, "username": "a"}]}'),
        ("marked.toml", '[[users]]\nid = 1\nusername = "a"\n'),
    ],
)
def test_a_byte_order_mark_does_not_matter(tmp_path: Path, name: str, text: str) -> None:
    path = tmp_path / name
    path.write_text(text, encoding="utf-8-sig")
    assert list(load_catalog(path).resources) == ["user:1"]
