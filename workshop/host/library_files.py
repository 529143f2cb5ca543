"""Compresses the large files of the library that documents an API, and lets browsers cache them.

Its script has 1.7 MB. In production, nginx or a platform does this.
"""

import gzip
from collections.abc import Iterable
from functools import lru_cache
from typing import Any

from werkzeug.wrappers import Response

from workshop.host.guard import DOCUMENTATION, Application, StartResponse

# A year: the address contains the library's version.
KEPT = "public, max-age=31536000, immutable"


def send_small(application: Application) -> Application:
    """Compress that library's files for clients that accept gzip."""

    def answer(environ: dict[str, Any], start_response: StartResponse) -> Iterable[bytes]:
        path = environ.get("PATH_INFO", "")
        if not (path.startswith(DOCUMENTATION) and path.endswith((".js", ".css"))):
            return application(environ, start_response)
        response = Response.from_app(application, environ)
        if response.status_code == 200:
            response.vary.add("Accept-Encoding")
            if environ.get("QUERY_STRING", "").startswith("v="):
                response.headers["Cache-Control"] = KEPT
            accepted = environ.get("HTTP_ACCEPT_ENCODING", "")
            if environ["REQUEST_METHOD"] == "GET" and "gzip" in accepted:
                response.direct_passthrough = False
                response.data = compressed(response.data)
                response.content_encoding = "gzip"
                response.set_etag(response.get_etag()[0] or "", weak=True)  # other bytes, same file
        return response(environ, start_response)

    return answer


@lru_cache(maxsize=8)
def compressed(content: bytes) -> bytes:
    """`content` as gzip; cached, because it takes 50 ms."""
    return gzip.compress(content, mtime=0)
