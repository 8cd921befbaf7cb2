"""What can go wrong between us and a remote Cal.com, in one small tree.

``RemoteError``
    ``RemoteRefused``      the remote said no: a status below 500
        ``RemoteDenied``       401, 403: not with these credentials
        ``RemoteNotFound``     404
        ``RemoteConflict``     409, 422: somebody else has the time
        ``RateLimited``        429, or held back here so that there is no 429
    ``RemoteFailed``       a read was not answered with anything usable
    ``RemoteUnreachable``  no connection: nothing was sent
    ``RemoteDown``         the remote failed too often of late: nothing was sent
    ``OutcomeUnknown``     a change was sent, and nobody knows whether it was made
``ClientClosed``           the client is not open

One rule for the caller: after `OutcomeUnknown` the change may have been made;
after any other error of this tree it has certainly not been made.

Every error carries its facts as fields, and its ``args`` are those facts, so
it pickles.  None carries credentials: what the remote says is cleared of them.
"""

from __future__ import annotations

from typing import ClassVar, Final

from slotengine.errors import SlotError


class RemoteError(SlotError):
    """The root of the tree; ``operation`` is the method of the client that was called.

    What else an answer said is in all of them: its ``status``, the remote's
    ``code`` and ``message``, empty where it had none, and the ``request_id``
    that its operators can find the request by.

    >>> RemoteConflict.may_have_happened, OutcomeUnknown.may_have_happened
    (False, True)
    >>> RemoteUnreachable("get", "no connection").status is None
    True
    """

    may_have_happened: ClassVar[bool] = False
    """Whether the change that was asked for may have been made nevertheless."""

    operation: str
    status: int | None = None
    """None if there was no answer."""
    code: str = ""
    message: str = ""
    request_id: str | None = None

    @property
    def _said(self) -> str:
        return ": ".join(part for part in (self.code, self.message) if part)


class RemoteRefused(RemoteError):
    """The remote said no, and changed nothing.

    >>> print(RemoteNotFound("update", 404, "NotFoundException", "Slot not found", None))
    update: 404 NotFoundException: Slot not found
    """

    status: int

    def __init__(
        self, operation: str, status: int, code: str, message: str, request_id: str | None
    ) -> None:
        super().__init__(operation, status, code, message, request_id)
        self.operation = operation
        self.status = status
        self.code = code
        self.message = message
        self.request_id = request_id

    def __str__(self) -> str:
        return f"{self.operation}: {self.status} {self._said or 'without a word'}"


class RemoteDenied(RemoteRefused):
    """These credentials are not known (401), or may not do this (403)."""


class RemoteNotFound(RemoteRefused):
    """There is no such event type, user, team, or, for `update`, reservation (404)."""


class RemoteConflict(RemoteRefused):
    """The time is held or booked (422), or was taken at this very moment (409)."""


class RateLimited(RemoteRefused):
    """Too many requests; one made ``retry_after_s`` seconds from now may pass.

    The ``code`` is ``HELD_BACK`` if the request was not even sent, because the
    remote would have refused it.
    """

    def __init__(
        self,
        operation: str,
        status: int,
        code: str,
        message: str,
        request_id: str | None,
        retry_after_s: float,
    ) -> None:
        super().__init__(operation, status, code, message, request_id)
        self.args = (operation, status, code, message, request_id, retry_after_s)
        self.retry_after_s = retry_after_s

    def __str__(self) -> str:
        return f"{super().__str__()} (try again in {self.retry_after_s:.1f} s)"


HELD_BACK: Final = "HeldBack"
"""The ``code`` of a `RateLimited` that was decided here."""


class _NoUsableAnswer(RemoteError):
    """What the two errors below have in common: fields, and nothing that can be caught."""

    def __init__(
        self,
        operation: str,
        problem: str,
        status: int | None,
        request_id: str | None,
        code: str = "",
        message: str = "",
    ) -> None:
        super().__init__(operation, problem, status, request_id, code, message)
        self.operation = operation
        self.problem = problem
        self.status = status
        self.request_id = request_id
        self.code = code
        self.message = message

    def __str__(self) -> str:
        said = f" ({self._said})" if self._said else ""
        return f"{self.operation}: {self.problem}{said}"


class RemoteFailed(_NoUsableAnswer):
    """A read got no usable answer: a 5xx, nonsense, or none in time.

    ``status`` and ``request_id`` are None where there was no answer at all.
    """


class OutcomeUnknown(_NoUsableAnswer):
    """A change was sent, but what became of it is not known.

    The connection broke, the answer took too long, or it was one that says
    nothing, such as a 5xx.  Read before you decide; `delete` may just be
    repeated.
    """

    may_have_happened: ClassVar[bool] = True

    def __str__(self) -> str:
        return f"{super().__str__()}; it may have been done"


class RemoteUnreachable(RemoteError):
    """No connection could be made, so nothing was sent."""

    def __init__(self, operation: str, problem: str) -> None:
        super().__init__(operation, problem)
        self.operation = operation
        self.problem = problem

    def __str__(self) -> str:
        return f"{self.operation}: {self.problem}"


class RemoteDown(RemoteError):
    """The remote failed too often in a row, so nothing is sent for a while.

    In ``retry_after_s`` seconds one request may pass, to see if it is back.
    """

    def __init__(self, operation: str, retry_after_s: float) -> None:
        super().__init__(operation, retry_after_s)
        self.operation = operation
        self.retry_after_s = retry_after_s

    def __str__(self) -> str:
        return f"{self.operation}: the remote is down (try again in {self.retry_after_s:.1f} s)"


class ClientClosed(SlotError):
    """The client is not open: it was not entered yet, or was left already."""

    def __str__(self) -> str:
        return (
            "the client is not open; enter it, once, with "
            "'async with CalComClient(...) as client:' and call it inside"
        )


REFUSALS: Final[dict[int, type[RemoteRefused]]] = {
    401: RemoteDenied,
    403: RemoteDenied,
    404: RemoteNotFound,
    409: RemoteConflict,
    422: RemoteConflict,
}
"""The error for each status of a refusal; for one that is not here, `RemoteRefused`."""
