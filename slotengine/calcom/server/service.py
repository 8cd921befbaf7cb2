"""The server without a web framework: requests and responses are plain values.

`Service.admit` decides from the head of a request whether its body is read: whether the
endpoint exists, the caller is within its rate limit, and the body is of an accepted type
and size.  `Service.handle` handles an admitted request.  The web framework only reads and
writes (`app` does it with aiohttp):

    outcome = service.admit(head)
    if isinstance(outcome, Refusal):
        return outcome.response  # without reading the body
    try:
        body = ...  # at most ``outcome.bound`` bytes; 0 for no body
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
from slotengine.calcom.server.auth import ANONYMOUS, Caller, authenticate
from slotengine.calcom.server.bodies import (
    MAX_BODY_BYTES,
    MAX_BYTES_IN_FLIGHT,
    TOO_LARGE,
    ByteBudget,
    decompressed,
    expect_json,
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
from slotengine.calcom.server.responses import (
    PREFLIGHT_HEADERS,
    Reply,
    error_reply,
    path_of,
    respond,
)
from slotengine.calcom.server.slots import SlotSearch
from slotengine.calcom.server.throttle import Account, Throttle
from slotengine.calcom.wire import ERRORS, VERSION, HttpError, without_surrogates
from slotengine.engine.engine import SlotEngine
from slotengine.engine.uids import new_uid

BUSY: Final = "The server has too many bodies to read; try again"
RETRY_AFTER_S: Final = 1

SEARCH: Final = "/v2/slots"
RESERVATIONS: Final = "/v2/slots/reservations"
_ONE: Final = f"{RESERVATIONS}/"


class Admitted(NamedTuple):
    """A request that is handled once its body has arrived."""

    bound: int
    """The most bytes of its body, as sent; 0 for no body."""
    head: Head
    endpoint: Endpoint
    uid: str
    """The uid in its path; empty if there is none."""
    caller: Caller
    account: Account | None
    """The rate limit of its caller, if there is one."""
    response_headers: dict[str, str]
    """The rate-limit headers of its response."""
    encoding: str | None
    """The compression of its body."""
    memory: int
    """The bytes of memory set aside for its body."""


class Endpoint(NamedTuple):
    """The handler of a method of a path."""

    handler: Callable[[Admitted, bytes], Response | Awaitable[Reply | HttpError]]
    takes_body: bool = False
    checks_caller: bool = False
    """Whether invalid credentials are refused before the body is read."""
    versioned: bool = True
    """Whether it is part of the API: requests need the version header, and are counted."""


class Service:
    """All endpoints, over a catalog and an engine; requests need the engine running."""

    def __init__(
        self,
        catalog: Catalog,
        engine: SlotEngine,
        *,
        enforce_availability: bool,
        rate_limits: RateLimits,
        quotas: CallerQuotas,
        max_bytes_in_flight: int = MAX_BYTES_IN_FLIGHT,
    ) -> None:
        self.catalog = catalog
        self.engine = engine
        self.body_memory = ByteBudget(max_bytes_in_flight)
        """The memory for bodies."""
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
        """Add the catalog to the engine, before the first request."""
        self._search.add_bookings(await self.catalog.populate(self.engine))

    # --- Before the body -----------------------------------------------------------------

    def admit(self, head: Head) -> Refusal | Admitted:
        """Admit or refuse a request by its head.

        Charges the caller's rate limit.  An admitted request has its share of the
        memory for bodies until `done`.
        """
        response_headers: dict[str, str] = {}
        try:
            return self._admitted(head, response_headers)
        except Exception as error:
            return Refusal(
                respond(error_reply(error, head.method, head.target, self.engine), response_headers)
            )

    def _admitted(self, head: Head, response_headers: dict[str, str]) -> Refusal | Admitted:
        method, target, headers, address = head
        if EXPECT in headers and headers[EXPECT].lower() != "100-continue":
            raise HttpError(417, "The only Expect is 100-continue")
        endpoint, uid = self._find(method, target)
        if endpoint is None or (endpoint.versioned and headers.get(API_VERSION) != VERSION):
            raise _not_found(head)
        caller, account = ANONYMOUS, None
        bound, encoding, memory = 0, None, 0
        if endpoint.versioned:
            self._throttle.warn_of_proxy(headers)
            caller = authenticate(headers, self.catalog)
            account = self._throttle.account(caller, headers, address)
            if account is not None:
                admission = account.admit(self.engine.look)
                response_headers.update(admission.headers())
                admission.check()
            if endpoint.checks_caller:
                caller.user()
            if endpoint.takes_body:
                bound, encoding = expect_json(headers)
                memory = bound if encoding is None else bound + MAX_BODY_BYTES
                if not self.body_memory.take(memory):
                    return self._busy(head, response_headers)
        return Admitted(
            bound, head, endpoint, uid, caller, account, response_headers, encoding, memory
        )

    def _busy(self, head: Head, response_headers: dict[str, str]) -> Refusal:
        error = HttpError(503, BUSY)
        response_headers["Retry-After"] = str(RETRY_AFTER_S)
        return Refusal(
            respond(error_reply(error, head.method, head.target, self.engine), response_headers)
        )

    def done(self, admitted: Admitted) -> None:
        """Free the memory that was set aside for a request."""
        self.body_memory.give_back(admitted.memory)

    # --- Routing -------------------------------------------------------------------------

    def _find(self, method: str, target: str) -> tuple[Endpoint | None, str]:
        """Return the endpoint of a request, and the uid in its path, if there is one."""
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
        """Do the same for a path with an alias, an escape or a trailing slash."""
        path = path_of(target).partition("?")[0].partition("#")[0]
        segments = [unquote(segment) for segment in path.split("/")]
        if len(segments) > 2 and not segments[-1] and segments[1] == "v2":
            segments.pop()  # a trailing slash makes no difference
        *parents, uid = segments
        if uid and parents == _ONE.split("/")[:-1]:
            return self._of_one.get(method), uid
        if any("/" in segment for segment in segments):
            return None, ""
        return self._of_paths.get("/".join(segments), {}).get(method), ""

    # --- With the body -------------------------------------------------------------------

    async def handle(self, admitted: Admitted, body: bytes) -> Response:
        """Handle an admitted request, with its body as sent."""
        try:
            if len(body) > admitted.bound:
                raise HttpError(413, TOO_LARGE)
            if admitted.encoding is not None:
                body = decompressed(body, admitted.encoding)
            found = admitted.endpoint.handler(admitted, body)
            if isinstance(found, Response):
                return found
            reply = await found
        except Exception as error:
            return self.refused(admitted, error)
        if isinstance(reply, HttpError):
            return self.refused(admitted, reply)
        return respond(reply, admitted.response_headers)

    def refused(self, admitted: Admitted, error: Exception) -> Response:
        """Return the response to a request that raised an error, for example while it was read."""
        head = admitted.head
        return respond(
            error_reply(error, head.method, head.target, self.engine), admitted.response_headers
        )

    # What they do is one step of the engine, without a coroutine of their own.

    def _post(self, admitted: Admitted, body: bytes) -> Awaitable[Reply | HttpError]:
        head, caller = admitted.head, admitted.caller
        holder = caller.holder(self._throttle.address(head.headers, head.address))
        return self.engine.run(lambda local: self._reservations.hold(caller, holder, body, local))

    def _get(self, admitted: Admitted, _: bytes) -> Awaitable[Reply]:
        return self.engine.run(partial(self._reservations.read, admitted.uid))

    def _patch(self, admitted: Admitted, body: bytes) -> Awaitable[Reply]:
        uid, caller = admitted.uid, admitted.caller
        return self.engine.run(lambda local: self._reservations.move(uid, caller, body, local))

    def _delete(self, admitted: Admitted, _: bytes) -> Awaitable[Reply]:
        return self.engine.run(partial(self._reservations.release, admitted.uid))

    def _slots(self, admitted: Admitted, _: bytes) -> Awaitable[Reply]:
        query = admitted.head.target.partition("?")[2].partition("#")[0]
        pairs = parse_qsl(query, keep_blank_values=True)
        return self._search.search(pairs, partial(self._charge, admitted))

    def _charge(self, admitted: Admitted, cost: int) -> None:
        if admitted.account is not None:
            admission = admitted.account.charge(cost, self.engine.look)
            admitted.response_headers.update(admission.headers())
            admission.check()


def _preflight(_: Admitted, __: bytes) -> Response:
    return Response(204, b"", PREFLIGHT_HEADERS, new_uid())


def _not_found(head: Head) -> HttpError:
    """Return the original's 404, also for an endpoint without the version header.

    For that one the details have a hint, since the original's message has none.
    """
    message = f"Cannot {head.method} {path_of(head.target)}"
    hint = _version_hint(head.headers)
    if hint is None:
        return HttpError(404, message)
    details = {"message": message, "error": ERRORS[404][1], "statusCode": 404, "hint": hint}
    return HttpError(404, message, details)


def _version_hint(headers: Headers) -> str | None:
    """Return a hint about the version header, None if it is correct."""
    sent = headers.get(API_VERSION)
    if sent == VERSION:
        return None
    problem = "is missing" if sent is None else f"is {without_surrogates(sent)[:64]!r}"
    return f"The header 'cal-api-version' {problem}; send 'cal-api-version: {VERSION}'"
