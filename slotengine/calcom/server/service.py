"""The server without the web: what answers a request, given as plain values.

`Service.admit` decides by the head of a request whether its body is read at all:
whether there is such an endpoint, whether the caller may go on, and whether the
body is of a kind and a size that is accepted.  `Service.handle` answers what was
admitted.  A framework reads and writes, and knows nothing of what is served
(`app` is the part that knows aiohttp):

    outcome = service.admit(head)
    if isinstance(outcome, Refusal):
        return outcome.response  # without reading the body
    try:
        body = ...  # at most ``outcome.bound`` bytes; 0: none
        return await service.handle(outcome, body)
    finally:
        service.done(outcome)

The endpoints are in `reservations`, `slots` and `docs_page`.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import partial
from typing import Final, NamedTuple
from urllib.parse import parse_qsl, unquote

from slotengine.calcom.catalog.catalog import Catalog
from slotengine.calcom.catalog.quotas import CallerQuotas
from slotengine.calcom.catalog.rate_limits import RateLimits
from slotengine.calcom.server.auth import NOBODY, Caller, caller_of
from slotengine.calcom.server.bodies import (
    MOST_IN_FLIGHT,
    NOTHING,
    TOO_LARGE,
    Room,
    expected_json,
    unpacked,
)
from slotengine.calcom.server.docs_page import DocsPages
from slotengine.calcom.server.messages import (
    API_VERSION,
    EXPECT,
    Head,
    Headers,
    Refusal,
    Response,
)
from slotengine.calcom.server.openapi import document
from slotengine.calcom.server.reservations import Reservations
from slotengine.calcom.server.responses import PREFLIGHT, Reply, path_of, problem, respond
from slotengine.calcom.server.slots import SlotSearch
from slotengine.calcom.server.throttle import Account, Throttle
from slotengine.calcom.wire import ERRORS, VERSION, HttpError, sendable
from slotengine.engine.engine import SlotEngine
from slotengine.engine.uids import new_uid

BUSY: Final = "The server has too many bodies to read; try again"
RETRY_AFTER_S: Final = 1

SEARCH: Final = "/v2/slots"
RESERVATIONS: Final = "/v2/slots/reservations"
_ONE: Final = f"{RESERVATIONS}/"


class Admitted(NamedTuple):
    """A request that may go on."""

    bound: int
    """How many bytes its body may have, as it is sent; 0: it is not read."""
    head: Head
    endpoint: Endpoint
    uid: str
    """Of a reservation, if its path names one."""
    caller: Caller
    account: Account | None
    """Where its caller's requests are counted, if they are."""
    shown: dict[str, str]
    """Headers of its answer that say how its caller stands."""
    encoding: str | None
    """What its body is packed by."""
    room: int
    """How many bytes were set aside for it."""


class Endpoint(NamedTuple):
    """What answers requests to a path by a method."""

    answer: Callable[[Admitted, bytes], Reply | Response | Awaitable[Reply]]
    takes_body: bool = False
    checks_caller: bool = False
    """Whether wrong credentials are refused before the body is read."""
    versioned: bool = True
    """Whether it is of the API, and so needs its version in a header, and counts."""


class Service:
    """The endpoints over a catalog and an engine, which must be running to answer."""

    def __init__(
        self,
        catalog: Catalog,
        engine: SlotEngine,
        *,
        enforce_availability: bool,
        rate_limits: RateLimits,
        quotas: CallerQuotas,
        most_in_flight: int = MOST_IN_FLIGHT,
    ) -> None:
        self.catalog = catalog
        self.engine = engine
        self.room = Room(most_in_flight)
        """What is left for bodies."""
        self._throttle = Throttle(catalog.rate_limits or rate_limits)
        self._reservations = Reservations(
            catalog,
            engine,
            enforce_availability=enforce_availability,
            quotas=catalog.quotas or quotas,
        )
        self._search = SlotSearch(catalog, engine, self._reservations.find)
        self._pages = DocsPages(document(self._reservations.bounds, version=VERSION))
        post = Endpoint(self._post, takes_body=True, checks_caller=True)
        get, search = Endpoint(self._get), Endpoint(self._slots)
        patch = Endpoint(self._patch, takes_body=True)
        openapi = Endpoint(lambda _, __: self._pages.openapi(), versioned=False)
        docs = Endpoint(lambda _, __: self._pages.docs(), versioned=False)
        self._options = Endpoint(_preflight, versioned=False)
        self._of_one = {"GET": get, "HEAD": get, "PATCH": patch, "DELETE": Endpoint(self._delete)}
        self._of_paths = {
            RESERVATIONS: {"POST": post},
            SEARCH: {"GET": search, "HEAD": search},
            "/openapi.json": {"GET": openapi, "HEAD": openapi},
            "/docs": {"GET": docs, "HEAD": docs},
        }

    async def populate(self) -> None:
        """Make the catalog known to the engine, before the first request."""
        self._search.add_bookings(await self.catalog.populate(self.engine))

    # --- Before the body -----------------------------------------------------------------

    def admit(self, head: Head) -> Refusal | Admitted:
        """Decide by its head whether a request goes on.

        The caller's rate limit is charged here.  What is admitted has its share
        of the memory for bodies until `done`.
        """
        shown: dict[str, str] = {}
        try:
            return self._admitted(head, shown)
        except Exception as error:
            return Refusal(respond(problem(error, head.method, head.target, self.engine), shown))

    def _admitted(self, head: Head, shown: dict[str, str]) -> Refusal | Admitted:
        method, target, headers, address = head
        if EXPECT in headers and headers[EXPECT].lower() != "100-continue":
            raise HttpError(417, "The only Expect is 100-continue")
        endpoint, uid = self._find(method, target)
        if endpoint is None or (endpoint.versioned and headers.get(API_VERSION) != VERSION):
            raise _nowhere(head)
        caller, account, expected, room = NOBODY, None, NOTHING, 0
        if endpoint.versioned:
            self._throttle.look_for_proxy(headers)
            caller = caller_of(headers, self.catalog)
            account = self._throttle.account(caller, headers, address)
            if account is not None:
                admission = account.admit(self.engine.now)
                shown.update(admission.headers())
                admission.check()
            if endpoint.checks_caller:
                caller.user()
            if endpoint.takes_body:
                expected = expected_json(headers)
                room = expected.room
                if not self.room.take(room):
                    return self._busy(head, shown)
        return Admitted(
            expected.bound, head, endpoint, uid, caller, account, shown,
            expected.encoding, room,
        )  # fmt: skip

    def _busy(self, head: Head, shown: dict[str, str]) -> Refusal:
        error = HttpError(503, BUSY)
        shown["Retry-After"] = str(RETRY_AFTER_S)
        return Refusal(respond(problem(error, head.method, head.target, self.engine), shown))

    def done(self, admitted: Admitted) -> None:
        """Let others have the memory that was set aside for a request."""
        self.room.give_back(admitted.room)

    # --- Which endpoint ------------------------------------------------------------------

    def _find(self, method: str, target: str) -> tuple[Endpoint | None, str]:
        """Return the endpoint that is meant, and the uid in its path, if there is one."""
        if method == "OPTIONS":
            return self._options, ""
        path = target.partition("?")[0]
        methods = self._of_paths.get(path)
        if methods is not None:
            return methods.get(method), ""
        if path.startswith(_ONE):
            uid = path[len(_ONE) :]
            if uid.replace("-", "").isalnum():
                return self._of_one.get(method), uid
        return self._find_alias(method, target)

    def _find_alias(self, method: str, target: str) -> tuple[Endpoint | None, str]:
        """Do the same for a path that is not written in the usual way."""
        path = path_of(target).partition("?")[0].partition("#")[0]
        segments = [unquote(segment) for segment in path.split("/")]
        if len(segments) > 2 and not segments[-1] and segments[1] == "v2":
            segments.pop()  # a slash at the end changes nothing
        *parents, uid = segments
        if uid and parents == _ONE.split("/")[:-1]:
            return self._of_one.get(method), uid
        if any("/" in segment for segment in segments):
            return None, ""
        return self._of_paths.get("/".join(segments), {}).get(method), ""

    # --- With the body -------------------------------------------------------------------

    async def handle(self, admitted: Admitted, body: bytes) -> Response:
        """Answer a request that was admitted, given its body as it was sent."""
        try:
            if len(body) > admitted.bound:
                raise HttpError(413, TOO_LARGE)
            if admitted.encoding is not None:
                body = unpacked(body, admitted.encoding)
            reply = admitted.endpoint.answer(admitted, body)
            if not isinstance(reply, tuple):
                reply = await reply
        except Exception as error:
            return self.refused(admitted, error)
        return reply if isinstance(reply, Response) else respond(reply, admitted.shown)

    def refused(self, admitted: Admitted, error: Exception) -> Response:
        """Return the answer to a request for which this was raised, such as on reading its body."""
        head = admitted.head
        return respond(problem(error, head.method, head.target, self.engine), admitted.shown)

    def _post(self, admitted: Admitted, body: bytes) -> Reply:
        head, caller = admitted.head, admitted.caller
        holder = caller.holder(self._throttle.address(head.headers, head.address))
        return self._reservations.hold(caller, holder, body)

    def _get(self, admitted: Admitted, _: bytes) -> Reply:
        return self._reservations.read(admitted.uid)

    def _patch(self, admitted: Admitted, body: bytes) -> Reply:
        return self._reservations.move(admitted.uid, admitted.caller, body)

    def _delete(self, admitted: Admitted, _: bytes) -> Reply:
        return self._reservations.release(admitted.uid)

    def _slots(self, admitted: Admitted, _: bytes) -> Reply | Awaitable[Reply]:
        query = admitted.head.target.partition("?")[2].partition("#")[0]
        pairs = parse_qsl(query, keep_blank_values=True)
        return self._search.search(pairs, partial(self._charge, admitted))

    def _charge(self, admitted: Admitted, cost: int) -> None:
        if admitted.account is not None:
            admission = admitted.account.charge(cost, self.engine.now)
            admitted.shown.update(admission.headers())
            admission.check()


def _preflight(_: Admitted, __: bytes) -> Response:
    return Response(204, PREFLIGHT | {"X-Request-Id": new_uid()}, b"")


def _nowhere(head: Head) -> HttpError:
    """Return the original's answer for what is no endpoint; it is none without the version.

    Which it then says in the details, since nothing else would tell.
    """
    message = f"Cannot {head.method} {path_of(head.target)}"
    hint = _hint(head.headers)
    if hint is None:
        return HttpError(404, message)
    details = {"message": message, "error": ERRORS[404][1], "statusCode": 404, "hint": hint}
    return HttpError(404, message, details)


def _hint(headers: Headers) -> str | None:
    """Say what is wrong with the header that names the version, if anything is."""
    sent = headers.get(API_VERSION)
    if sent == VERSION:
        return None
    wrong = "is missing" if sent is None else f"is {sendable(sent)[:64]!r}"
    return f"The header 'cal-api-version' {wrong}; send 'cal-api-version: {VERSION}'"
