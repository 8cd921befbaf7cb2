"""The errors of the client, in one small tree.

``RemoteError``
    ``RemoteRefused``      the remote said no: a status below 500
        ``RemoteDenied``       401, 403: these credentials are not allowed
        ``RemoteNotFound``     404
        ``RemoteConflict``     409, 422: the time is taken
        ``RateLimited``        429, or held back here to avoid a 429
    ``RemoteFailed``       a read got no usable response
    ``RemoteUnreachable``  no connection: nothing was sent
    ``RemoteDown``         the circuit breaker is open: nothing was sent
    ``OutcomeUnknown``     a change was sent, and its outcome is unknown
``ClientClosed``           the client is not open

One rule for callers: after `OutcomeUnknown` the change may have been made;
after any other error of this tree it was certainly not made.

Every error has its details as attributes and as ``args``, so it can be pickled.
No error carries credentials: they are removed from what the remote says.
"""

from __future__ import annotations

from typing import ClassVar, Final

from slotengine.errors import SlotError


class RemoteError(SlotError):
    """The root of the tree; ``operation`` is the client method that was called.

    If there was a response, ``status`` is its status, ``code`` and ``message``
    are what it said (empty if it said nothing), and ``request_id`` is the id by
    which the remote's operators can find the request.

    >>> RemoteConflict.may_have_happened, OutcomeUnknown.may_have_happened
    (False, True)
    >>> RemoteUnreachable("get", "no connection").status is None
    True
    """

    may_have_happened: ClassVar[bool] = False
    """Whether the requested change may have been made despite the error."""

    operation: str
    status: int | None = None
    """None if there was no response."""
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
        return f"{self.operation}: {self.status} {self._said or 'without a message'}"


class RemoteDenied(RemoteRefused):
    """The credentials are not valid (401), or do not allow this request (403)."""


class RemoteNotFound(RemoteRefused):
    """There is no such event type, user or team, or, for `update`, no such reservation (404)."""


class RemoteConflict(RemoteRefused):
    """The time is held or booked (422), or was taken at this very moment (409)."""


class RateLimited(RemoteRefused):
    """Too many requests; a retry may succeed ``retry_after_s`` seconds from now.

    The ``code`` is ``NOT_SENT`` if the client did not send the request,
    because it would have exceeded the remote's rate limit.
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


NOT_SENT: Final = "NotSent"
"""The ``code`` of a `RateLimited` for a request that the client did not send."""


class _NoUsableResponse(RemoteError):
    """The fields that `RemoteFailed` and `OutcomeUnknown` share."""

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


class RemoteFailed(_NoUsableResponse):
    """A read got no usable response: a 5xx, a malformed one, or none in time.

    ``status`` and ``request_id`` are None if there was no response at all.
    """


class OutcomeUnknown(_NoUsableResponse):
    """A change was sent, and it is unknown whether it was made.

    The connection broke, the response took too long, or it does not say whether
    the change was made, such as a 5xx.  Read the reservation before you decide
    what to do.  A `delete` can simply be repeated.
    """

    may_have_happened: ClassVar[bool] = True

    def __str__(self) -> str:
        return f"{super().__str__()}; the change may have been made"


class RemoteUnreachable(RemoteError):
    """No connection could be made, so nothing was sent."""

    def __init__(self, operation: str, problem: str) -> None:
        super().__init__(operation, problem)
        self.operation = operation
        self.problem = problem

    def __str__(self) -> str:
        return f"{self.operation}: {self.problem}"


class RemoteDown(RemoteError):
    """The remote failed too often in a row: the circuit breaker is open, and nothing was sent.

    In ``retry_after_s`` seconds one request, the probe, may pass.
    """

    def __init__(self, operation: str, retry_after_s: float) -> None:
        super().__init__(operation, retry_after_s)
        self.operation = operation
        self.retry_after_s = retry_after_s

    def __str__(self) -> str:
        return f"{self.operation}: the remote is down (try again in {self.retry_after_s:.1f} s)"


class ClientClosed(SlotError):
    """The client is not open: it was not entered yet, or has been closed."""

    def __str__(self) -> str:
        return (
            "the client is not open; enter it once, with "
            "'async with CalComClient(...) as client:', and call it inside the block"
        )


REFUSALS: Final[dict[int, type[RemoteRefused]]] = {
    401: RemoteDenied,
    403: RemoteDenied,
    404: RemoteNotFound,
    409: RemoteConflict,
    422: RemoteConflict,
}
"""The error for each status of a refusal; `RemoteRefused` for all others."""
