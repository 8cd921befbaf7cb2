"""Which bodies a head may announce."""

from __future__ import annotations

import pytest

from slotengine.calcom.server.bodies import expect_json
from slotengine.calcom.wire import HttpError

MANY = 8000


@pytest.mark.parametrize(
    "content_type",
    [
        "application/json",
        ' APPLICATION/JSON ; Charset = "UTF-8" ',
        "application/json;",
        'application/json; charset="utf-8',
        "application/json; version=1; charset=utf-8",
        "application/json; charset=utf-8; charset=latin1",
        'application/json; a=";charset=latin1"',
        'application/json; a="\\";charset=latin1"; charset=utf-8',
        # Parameters of RFC 2231 are ignored, whatever they say.
        "application/json; charset*=%00''utf-8",
        "application/json; charset*=us-ascii'en'latin1",
        "application/json; charset*0*=%00'x'utf-8",
        f"application/json; charset*{'1' * MANY}=x",
        "application/json" + ";" * MANY,
        'application/json;"' + ";" * MANY,
        'application/json; a="' + "\\" * MANY,
        "application/json; " + " " * MANY + "x",
    ],
)
def test_json_in_utf_8_is_read(content_type: str) -> None:
    assert expect_json({"Content-Type": content_type, "Content-Length": "7"}) == (7, None)


@pytest.mark.parametrize(
    "content_type",
    [
        "",
        "\xff",
        "text/plain",
        "application/json charset=utf-8",
        "application/jsonp",
        "application/json; charset",
        "application/json; charset=",
        "application/json; charset=latin1",
        "application/json; charset=latin1; charset=utf-8",
        "application/json; charset=<utf-8>",
        "application/json; charset=\xff",
        "application/json; charset=\xfctf-8",
        'application/json; charset="' + ";" * MANY,
    ],
)
def test_everything_else_is_refused(content_type: str) -> None:
    with pytest.raises(HttpError) as refusal:
        expect_json({"Content-Type": content_type, "Content-Length": "7"})
    assert refusal.value.status == 415
