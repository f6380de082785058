"""Dask's dashboard answers those alone who ask for this machine by its own names."""

from __future__ import annotations

from typing import Any

from distributed import LocalCluster
from tornado.httputil import HTTPServerRequest
from tornado.routing import Matcher, Rule
from tornado.web import HTTPError, RequestHandler

from preprocessing.host_names import is_own_host


def refuse_other_hosts(cluster: LocalCluster) -> None:
    """Answer requests whose Host header is of another machine with 403, Bokeh's web sockets included.

    Dask has no setting for it: its `allow_websocket_origin` leaves out all pages but Bokeh's.
    """
    router = cluster.scheduler.http_application.default_router
    router.rules.insert(0, Rule(_OtherHost(), _Refusal))


class _OtherHost(Matcher):
    def match(self, request: HTTPServerRequest) -> dict[str, Any] | None:
        return None if is_own_host(request.headers.get("Host")) else {}


class _Refusal(RequestHandler):
    # Not a handler of errors: Dask goes on looking for another page after one of those.
    def prepare(self) -> None:
        raise HTTPError(403, reason="Host is not a name of this machine")
