"""Secrets of a catalog: a digest, or the name of what has them, and never they themselves."""

from __future__ import annotations

from typing import Any

import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from slotengine.calcom.catalog.load import CatalogError, catalog_from
from slotengine.calcom.catalog.rate_limits import RateLimits
from slotengine.calcom.catalog.secrets import digest_of, fingerprint, is_sendable, read_secret
from slotengine.calcom.server.auth import CallerKind, authenticate
from slotengine.calcom.server.throttle import Throttle
from slotengine.cli import cli
from tests.calcom.server.api import RAW_CATALOG

SECRET = "cal_5e0c1b6f"
words = st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=5)


@given(words)
def test_a_secret_is_the_same_by_its_fingerprint_and_by_its_name(secret: str) -> None:
    by_digest = read_secret(fingerprint(secret), {})
    by_name = read_secret("env:KEY", {"KEY": secret})
    assert by_digest.digest == by_name.digest == digest_of(secret)
    assert by_digest.is_api_key is None
    assert by_name.is_api_key is secret.startswith("cal_")


@given(st.text(max_size=80).filter(lambda text: not text.startswith(("sha256:", "env:"))))
def test_a_plain_secret_is_refused_and_not_shown(secret: str) -> None:
    with pytest.raises(ValueError, match="hash-key") as one:
        read_secret(secret, {})
    with pytest.raises(ValueError, match="hash-key") as other:
        read_secret(SECRET, {})
    assert str(one.value) == str(other.value)  # so nothing of them is in it


@pytest.mark.parametrize("value", ["", "cal_", "two words", "ключ", "tab\t", "cal_ä"])
def test_what_no_header_can_carry_is_refused(value: str) -> None:
    assert not is_sendable(value)
    with pytest.raises(ValueError, match="must have printable ASCII") as caught:
        read_secret("env:KEY", {"KEY": value})
    assert not value.strip() or value == "cal_" or value not in str(caught.value)


def test_a_variable_that_is_not_set() -> None:
    with pytest.raises(ValueError, match="the environment variable KEY is not set"):
        read_secret("env:KEY", {"OTHER": SECRET})


@pytest.mark.parametrize("name", [SECRET + "-", "", "1", "A B", "A=B"])
def test_what_is_no_name_is_not_shown(name: str) -> None:
    with pytest.raises(ValueError, match="must have the name") as caught:
        read_secret("env:" + name, {})
    assert SECRET not in str(caught.value)


def test_a_digest_is_not_shown_either() -> None:
    assert digest_of(SECRET).hex() not in repr(read_secret(fingerprint(SECRET), {}))
    assert repr(digest_of(SECRET)) not in repr(read_secret(fingerprint(SECRET), {}))


def test_a_catalog_reads_secrets_from_the_environment_it_is_given(right: dict[str, Any]) -> None:
    right["users"][0]["apiKeys"] = ["env:DESK_KEY"]
    right["oauthClients"][0]["secret"] = "env:PLATFORM"
    environ = {"DESK_KEY": SECRET, "PLATFORM": "of the platform".replace(" ", "-")}
    catalog = catalog_from(right, environ=environ)
    assert catalog.api_keys.find(SECRET) == 1
    assert catalog.oauth_clients["platform"].secret.find("of-the-platform")


def test_keys_are_not_taken_for_tokens(right: dict[str, Any]) -> None:
    right["users"][0]["apiKeys"] = ["env:TOKEN"]
    right["users"][0]["accessTokens"] = [{"token": "env:KEY"}]
    with pytest.raises(CatalogError) as caught:
        catalog_from(right, environ={"TOKEN": "no-prefix", "KEY": SECRET})
    assert [str(problem) for problem in caught.value.problems] == [
        "users[0].apiKeys[0]: must be 'cal_' followed by letters and digits",
        "users[0].accessTokens[0].token: must not start with 'cal_', which marks API keys",
    ]


@pytest.mark.parametrize("end", ["", "\n", "\r\n"])
def test_the_command_prints_the_fingerprint(end: str) -> None:
    done = CliRunner().invoke(cli, ["hash-key"], input=SECRET + end)
    assert (done.exit_code, done.stdout) == (0, fingerprint(SECRET) + "\n")


@pytest.mark.parametrize("secret", ["", "\n", "cal_", f"{SECRET} {SECRET}", f"{SECRET}\n{SECRET}"])
def test_the_command_refuses_what_no_header_can_carry(secret: str) -> None:
    done = CliRunner().invoke(cli, ["hash-key"], input=secret)
    assert (done.exit_code, done.stdout) == (2, "")
    assert SECRET not in done.output


@pytest.mark.parametrize(
    ("secret", "kind"),
    [("cal_owner", CallerKind.API_KEY), ("owner-token", CallerKind.ACCESS_TOKEN)],
)
def test_who_calls_is_known_and_not_shown(secret: str, kind: CallerKind) -> None:
    headers = {"Authorization": f"Bearer {secret}"}
    caller = authenticate(headers, catalog_from(RAW_CATALOG))
    account = Throttle(RateLimits()).account(caller, headers, "192.0.2.7")
    assert caller.kind is kind
    assert caller.user() is not None
    assert account is not None
    for shown in map(repr, (caller, account)):
        assert secret not in shown
        assert repr(digest_of(secret)) not in shown
