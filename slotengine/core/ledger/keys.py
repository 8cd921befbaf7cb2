"""Idempotency keys: what each was used for, and for how long that is remembered.

A key is remembered as long as its reservation is known, and at least `KEY_LIFE` from the
making of that.  What is kept of the request is a digest, so a key costs the same however
large the request was, and means the same after a restart.

The digest is made where a request comes in: of what the caller asked, and nothing else.
Hours, defaults, configuration and uids are not part of it, so a retry stays the same request
when any of these change.  Times are UTC microseconds.

The canonical form is a byte string, in which every value has one encoding::

    None, True, False       N T F
    whole numbers           i42;
    text, bytes             s5:hello  b2:..       (text in UTF-8, lengths in bytes)
    sequences               [...]
    sets                    (...)                 (sorted by encoding)
    mappings                {...}                 (pairs, sorted by the encoding of the key)
    times, durations        as whole numbers of microseconds
    members of an Enum      as their value
    schedules               <{...}>               (their text: see `schedule_text`)
    anything else           ?[...]                (its class, and its own ``repr`` if it has one)

A field that has the value which it has if it is not said is left out (`said`).  So a field that
is added later changes no digest that was made before.  Anything else that changes the form has
to change `FORM`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from enum import Enum
from hashlib import blake2b
from heapq import heappop, heappush
from typing import Final, NamedTuple

from slotengine.core.ledger.expiry import NEVER
from slotengine.core.time.instant import DAY, duration_us, to_us
from slotengine.core.time.schedule_text import has_text, schedule_text

FORM: Final = 1
"""The version of the canonical form: the first byte of each digest."""

KEY_LIFE: Final = DAY
"""How long a key is remembered at least, from the making of its reservation."""


def digest(verb: str, /, **asked: object) -> bytes:
    """Return the digest of a request: 17 bytes, of which the first is `FORM`.

    ``asked`` is what the caller said, by name; what is None was not said.  Equal requests
    have equal digests: the order of names, of the entries of a mapping and of the members of
    a set is no matter, nor is the time zone of a moment.  O(n) for n values.

    >>> first = digest("reserve", start=3, only=frozenset({"a", "b"}), holder=None)
    >>> first == digest("reserve", only=frozenset({"b", "a"}), start=3)
    True
    >>> first == digest("reserve", start=4, only=frozenset({"a", "b"})), first.hex()
    (False, '01...')
    """
    given = {name: value for name, value in asked.items() if value is not None}
    return FORM.to_bytes() + blake2b(encode((verb, given)), digest_size=16).digest()


def said(asked: Mapping[str, object], unsaid: Mapping[str, bytes]) -> dict[str, object]:
    """Return what was said of what is asked.

    ``unsaid`` has the canonical form that each field has if it is not said.

    >>> said({"seats": 1, "enforce": False}, {"seats": encode(1), "enforce": encode(True)})
    {'enforce': False}
    """
    return {name: value for name, value in asked.items() if encode(value) != unsaid.get(name)}


def encode(value: object) -> bytes:
    """Return the canonical form of a value.  Never raises: what is invalid is refused later."""
    if value is None:
        return b"N"
    if isinstance(value, bool):
        return b"T" if value else b"F"
    if isinstance(value, Enum):
        return encode(value.value)
    if isinstance(value, int):
        return b"i%d;" % value
    if isinstance(value, str):
        text = value.encode(errors="surrogatepass")
        return b"s%d:%b" % (len(text), text)
    if isinstance(value, bytes):
        return b"b%d:%b" % (len(value), value)
    if has_text(value):  # before sequences, as one kind of schedule is a tuple
        return b"<%b>" % schedule_text(value).encode()
    if isinstance(value, Sequence):
        return b"[%b]" % b"".join(map(encode, value))
    if isinstance(value, set | frozenset):
        return b"(%b)" % b"".join(sorted(map(encode, value)))
    if isinstance(value, Mapping):
        pairs = sorted((encode(name), encode(one)) for name, one in value.items())
        return b"{%b}" % b"".join(part for pair in pairs for part in pair)
    if isinstance(value, timedelta):
        return encode(duration_us(value))
    if isinstance(value, datetime) and value.utcoffset() is not None:
        return encode(to_us(value))
    return _encode_other(value)


def _encode_other(value: object) -> bytes:
    kind = type(value)
    name = f"{kind.__module__}.{kind.__qualname__}"
    # The repr of `object` names an address, which is another one after a restart.
    shown = None if kind.__repr__ is object.__repr__ else repr(value)
    return b"?" + encode((name, shown))


class KeyUse(NamedTuple):
    """What a key was used for."""

    digest: bytes
    uid: str
    made: int
    """When the reservation was made."""


class Keys:
    """What each key was used for.

    >>> keys = Keys()
    >>> keys.add("key", KeyUse(b"digest", "uid", made=0))
    >>> keys.forget("key", now=5)  # its reservation is forgotten, but not the key
    >>> keys.find("key").uid, keys.due == KEY_LIFE, keys.drop_spent(KEY_LIFE), len(keys)
    ('uid', True, 1, 0)
    """

    __slots__ = ("_ends", "_spent", "_used")

    def __init__(self) -> None:
        self._used: dict[str, KeyUse] = {}
        # Keys whose reservations were forgotten, and a heap of when these keys will be.
        self._spent: dict[str, KeyUse] = {}
        self._ends: list[tuple[int, str]] = []

    def __len__(self) -> int:
        return len(self._used) + len(self._spent)

    @property
    def due(self) -> int:
        """When `drop_spent` next has something to do; NEVER if nothing is spent.  O(1)."""
        return self._ends[0][0] if self._ends else NEVER

    def find(self, key: str) -> KeyUse | None:
        """Return what a key was used for, if that is remembered.  O(1).

        It may be free again, and not be dropped yet: see `is_over`.
        """
        return self._used.get(key) or self._spent.get(key)

    @staticmethod
    def is_over(use: KeyUse, now: int) -> bool:
        """Return whether a key is free again, if its reservation is not known any more."""
        return use.made + KEY_LIFE <= now

    def add(self, key: str, use: KeyUse) -> None:
        """Remember a key, which is new, or free again.  O(1)."""
        self._spent.pop(key, None)
        self._used[key] = use

    def forget(self, key: str, now: int) -> None:
        """Note that the reservation of a key is forgotten.  O(log s) for s such keys.

        The key is remembered until it is over.
        """
        use = self._used.pop(key)
        if not self.is_over(use, now):
            self.spend(key, use)

    def spend(self, key: str, use: KeyUse) -> None:
        """Remember a key whose reservation is not known.  O(log s) for s such keys."""
        self._spent[key] = use
        heappush(self._ends, (use.made + KEY_LIFE, key))

    def drop_spent(self, now: int, limit: int = NEVER) -> int:
        """Drop keys that are over, in order of time, and return how many entries were visited.

        At most ``limit``.  O(log s) each for s keys whose reservations are forgotten.
        """
        ends, count = self._ends, 0
        while ends and ends[0][0] <= now and count < limit:
            end, key = heappop(ends)
            use = self._spent.get(key)
            # The key may have been used again since, and even be spent again.
            if use is not None and use.made + KEY_LIFE == end:
                del self._spent[key]
            count += 1
        return count

    def used(self) -> Iterator[tuple[str, KeyUse]]:
        """Yield the keys whose reservations are known, and what each was used for."""
        yield from self._used.items()

    def spent(self) -> Iterator[tuple[str, KeyUse]]:
        """Yield the keys whose reservations are forgotten, and what each was used for."""
        yield from self._spent.items()

    def check_invariants(self) -> None:
        """Assert every invariant.  O(s log s) for s spent keys; for tests and simulation."""
        assert not self._used.keys() & self._spent.keys()
        assert {(use.made + KEY_LIFE, key) for key, use in self._spent.items()} <= set(self._ends)
        assert all(end >= self._ends[(i - 1) // 2] for i, end in enumerate(self._ends) if i)
