"""The large files of the library that documents an API: sent compressed, and kept by browsers.

Its script has 1.7 MB. In production nginx or a platform does the same.
"""

import gzip
from collections.abc import Iterable
from functools import lru_cache
from typing import Any

from werkzeug.wrappers import Response

from workshop.host.guard import DOCUMENTATION, Application, StartResponse

KEPT = (
    "public, max-age=31536000, immutable"  # a year, for an address that has the library's version
)


def send_small(application: Application) -> Application:
    """Compress a WSGI application's files of that library, for clients that take gzip."""

    def answer(environ: dict[str, Any], start_response: StartResponse) -> Iterable[bytes]:
        path = environ.get("PATH_INFO", "")
        if not (path.startswith(DOCUMENTATION) and path.endswith((".js", ".css"))):
            return application(environ, start_response)
        response = Response.from_app(application, environ)
        if response.status_code == 200:
            response.vary.add("Accept-Encoding")
            if environ.get("QUERY_STRING", "").startswith("v="):
                response.headers["Cache-Control"] = KEPT
            if environ["REQUEST_METHOD"] == "GET" and takes_gzip(environ):
                response.direct_passthrough = False
                response.data = compressed(response.data)
                response.content_encoding = "gzip"
                response.set_etag(response.get_etag()[0] or "", weak=True)  # other bytes, same file
        return response(environ, start_response)

    return answer


def takes_gzip(environ: dict[str, Any]) -> bool:
    return "gzip" in environ.get("HTTP_ACCEPT_ENCODING", "")


@lru_cache(maxsize=8)
def compressed(content: bytes) -> bytes:
    """`content` as gzip. What has been compressed once is kept: it takes 50 ms."""
    return gzip.compress(content, mtime=0)
