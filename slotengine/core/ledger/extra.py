"""What a reservation may have beside what it takes: metadata, details, tags, a series.

None of it is asked about by any decision.  Most reservations have nothing of it, so it stands
in one object, which is replaced whole and never changed.
"""

from __future__ import annotations

from enum import Enum
from typing import Final, NamedTuple

from slotengine.core.ledger.checks import check_name, is_count
from slotengine.errors import InvalidField

MOST_METADATA: Final = 50
"""So many names may the metadata of a reservation have."""

LONGEST_METADATA_NAME: Final = 40
LONGEST_METADATA_VALUE: Final = 500

MOST_DETAILS: Final = 64 * 1024
"""So many bytes may the details have, in UTF-8."""

MOST_TAGS: Final = 16
LONGEST_TAG: Final = 64


class Keep(Enum):
    """The only member says that something stays as it is."""

    KEEP = "keep"


KEEP: Final = Keep.KEEP


class Series(NamedTuple):
    """Of which series a reservation is: several that were made together."""

    uid: str
    position: int
    """Which of them it is; the first is 0."""


class Extra(NamedTuple):
    """What most reservations have nothing of."""

    metadata: tuple[tuple[str, str], ...] = ()
    """Names and values, in order of the names."""
    details: str | None = None
    tags: tuple[str, ...] = ()
    series: Series | None = None
    replaces: str | None = None
    """The uid of the reservation in whose place it was made."""
    replaced_by: str | None = None
    """The uid of the reservation that was made in its place."""

    def check(self) -> None:
        """Raise `InvalidField` unless all that callers say of it can be kept."""
        check_metadata(self.metadata)
        check_details(self.details)
        check_tags(self.tags)
        if self.series is not None:
            check_name("series", self.series.uid)
            if not is_count(self.series.position + 1):
                raise InvalidField("series", f"must have a position, not {self.series.position!r}")

    def or_none(self) -> Extra | None:
        """Return this, or None if there is nothing in it."""
        return None if self == NOTHING else self


NOTHING: Final = Extra()


def check_metadata(metadata: tuple[tuple[str, str], ...]) -> None:
    """Raise `InvalidField` unless there are few pairs of texts, and not too long ones."""
    if len(metadata) > MOST_METADATA:
        raise InvalidField("metadata", f"must have at most {MOST_METADATA} names")
    for name, value in metadata:
        if not name or not _can_be_kept(name, LONGEST_METADATA_NAME):
            raise InvalidField(
                "metadata",
                f"must have names of 1 to {LONGEST_METADATA_NAME} characters, without NUL or "
                f"lone surrogates, not {name!r:.99}",
            )
        if not _can_be_kept(value, LONGEST_METADATA_VALUE):
            raise InvalidField(
                "metadata",
                f"must have texts of at most {LONGEST_METADATA_VALUE} characters, without NUL or "
                f"lone surrogates, not {value!r:.99} as {name!r}",
            )


def check_details(details: object) -> None:
    """Raise `InvalidField` unless it is None or a text that is not too large."""
    if details is None:
        return
    if not isinstance(details, str) or not _can_be_kept(details, MOST_DETAILS):
        raise InvalidField(
            "details",
            f"must be a string of at most {MOST_DETAILS} bytes, without NUL or lone surrogates",
        )
    size = len(details.encode())
    if size > MOST_DETAILS:
        raise InvalidField("details", f"must be at most {MOST_DETAILS} bytes, not {size}")


def check_tags(tags: tuple[str, ...]) -> None:
    """Raise `InvalidField` unless there are few short texts, each once."""
    if len(tags) > MOST_TAGS:
        raise InvalidField("tags", f"must be at most {MOST_TAGS}, not {len(tags)}")
    for tag in tags:
        if not tag or not _can_be_kept(tag, LONGEST_TAG):
            raise InvalidField(
                "tags",
                f"must be strings of 1 to {LONGEST_TAG} characters, without NUL or lone "
                f"surrogates, not {tag!r:.99}",
            )
    if len(set(tags)) < len(tags):
        raise InvalidField("tags", "must each be given once")


def _can_be_kept(text: object, longest: int) -> bool:
    if not isinstance(text, str) or len(text) > longest or "\0" in text:
        return False
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
