"""The dashboard's pages: files that were built, handed out as they are.

``make dashboard`` builds them from ``dashboard/`` into ``pages/``.  One page answers
``/`` and everything below ``/dashboard/`` (it reads the address itself); what it loads
stands below ``/dashboard/assets/`` under names that change with the content, and so may
be kept for ever.  All of it is read once, and stays in memory.
"""

import hashlib
import mimetypes
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from aiohttp import web

BUILT: Final = Path(__file__).with_name("pages")
#: Scripts, styles and requests of this origin only, nothing inline, no frames; and the
#: page can make no text into markup, whatever a payload says.
POLICY: Final = (
    "default-src 'none'; "
    "script-src 'self'; "
    "style-src 'self'; "
    "img-src 'self'; "
    "connect-src 'self'; "
    "manifest-src 'self'; "
    "base-uri 'none'; "
    "form-action 'none'; "
    "frame-ancestors 'none'; "
    "require-trusted-types-for 'script'; "
    "trusted-types 'none'"
)
_HEADERS: Final = {
    "Content-Security-Policy": POLICY,
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=(), payment=()",
    "Referrer-Policy": "no-referrer",
    "X-Frame-Options": "DENY",
}
_FOR_EVER: Final = "public, max-age=31536000, immutable"
#: What was compressed when it was built, the shortest first.
_CODINGS: Final[Mapping[str, str]] = {"br": ".br", "gzip": ".gz"}
_NOT_BUILT: Final = """<!doctype html><html lang="en"><meta charset="utf-8">
<title>Bellhop</title><h1>Bellhop runs; its dashboard is not built</h1>
<p>Run <code>make dashboard</code> where Bellhop was started, then load this page again.
It fetches packages from an npm registry once: <code>make dashboard</code> says what is
in the way.</p>
<p>The API does not need it: <a href="/docs">its documentation</a>.</p></html>
"""


@dataclass(frozen=True, slots=True)
class _File:
    """One file, in every coding it was built in; ``""`` is as it is."""

    media_type: str
    etag: str
    contents: Mapping[str, bytes]


class Pages:
    """Answers the routes."""

    def __init__(self, directory: Path = BUILT) -> None:
        self._directory = directory
        self._files: dict[str, _File] = {}

    def routes(self) -> list[web.RouteDef]:
        """Return the routes."""
        return [
            web.get("/", self.page),
            web.get("/dashboard", self.page),
            web.get("/dashboard/assets/{name}", self.asset),
            web.get("/dashboard/{rest:.*}", self.page),
        ]

    async def page(self, request: web.Request) -> web.Response:
        """Return the page; before it was built, what to do about that."""
        if "index.html" not in self._files:
            self._files = _read(self._directory)
        file = self._files.get("index.html")
        if file is None:
            return web.Response(
                status=503,
                text=_NOT_BUILT,
                content_type="text/html",
                headers={**_HEADERS, "Cache-Control": "no-store"},
            )
        return _answer(request, file, "no-cache")

    async def asset(self, request: web.Request) -> web.Response:
        """Return a file that the page loads; raises `HTTPNotFound`."""
        file = self._files.get(f"assets/{request.match_info['name']}")
        if file is None:
            # It may have been built since, and its page come from another process.
            self._files = _read(self._directory)
            file = self._files.get(f"assets/{request.match_info['name']}")
        if file is None:
            raise web.HTTPNotFound
        return _answer(request, file, _FOR_EVER)


def _read(directory: Path) -> dict[str, _File]:
    """Return what was built, by its path; nothing when nothing was."""
    found: dict[str, _File] = {}
    for path in sorted(directory.rglob("*")):
        if not path.is_file() or path.suffix in _CODINGS.values():
            continue
        content = path.read_bytes()
        beside = {
            coding: path.with_name(path.name + suffix)
            for coding, suffix in _CODINGS.items()
        }
        found[path.relative_to(directory).as_posix()] = _File(
            media_type=mimetypes.guess_type(path.name)[0] or "application/octet-stream",
            etag=hashlib.sha256(content).hexdigest()[:32],
            contents={
                "": content,
                **{c: one.read_bytes() for c, one in beside.items() if one.is_file()},
            },
        )
    return found


def _answer(request: web.Request, file: _File, keep: str) -> web.Response:
    accepted = request.headers.get("Accept-Encoding", "").lower()
    takes = {
        name.strip()
        for part in accepted.split(",")
        for name, _, quality in [part.partition(";")]
        if quality.replace(" ", "") not in {"q=0", "q=0.0"}
    }
    coding = next((one for one in _CODINGS if one in takes & file.contents.keys()), "")
    # Another coding is another representation (RFC 9110, section 8.8.3).
    etag = f'"{file.etag}{coding and "-"}{coding}"'
    headers = {
        **_HEADERS,
        "Cache-Control": keep,
        "ETag": etag,
        "Vary": "Accept-Encoding",
    }
    known = request.headers.get("If-None-Match", "")
    if etag in {tag.strip().removeprefix("W/") for tag in known.split(",")}:
        return web.Response(status=304, headers=headers)
    if coding:
        headers["Content-Encoding"] = coding
    return web.Response(
        body=file.contents[coding],
        content_type=file.media_type,
        charset="utf-8" if file.media_type.startswith("text/") else None,
        headers=headers,
    )
