"""What routes take from a request."""

from starlette.requests import Request

from qwill.server.service import Caller, Service


def service(request: Request) -> Service:
    """The server's models and counters."""
    found = request.app.state.service
    assert isinstance(found, Service)
    return found


def caller(request: Request) -> Caller:
    """Who asks, as the gate found."""
    return Caller(request.state.caller_key, request.state.request_id)
