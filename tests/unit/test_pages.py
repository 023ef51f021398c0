"""The built pages are handed out as they are, under a strict policy, and no more."""

import asyncio
from contextlib import asynccontextmanager

import aiohttp
import pytest
from aiohttp import web
from yarl import URL

from libs.common.health import serve_http
from services.streamer.answers import in_json, sign
from services.streamer.pages import Pages

PAGE = "<!doctype html><title>Bellhop</title>"


@pytest.fixture
def built(tmp_path):
    """What the tool chain would leave, and a secret beside it."""
    (tmp_path / "secret.txt").write_text("secret")
    pages = tmp_path / "pages"
    (pages / "assets").mkdir(parents=True)
    (pages / "index.html").write_text(PAGE)
    script = pages / "assets" / "index-abc.js"
    script.write_text("run()")
    script.with_name("index-abc.js.br").write_bytes(b"as brotli")
    script.with_name("index-abc.js.gz").write_bytes(b"as gzip")
    (pages / "assets" / "bell.svg").write_text("<svg/>")
    return pages


@asynccontextmanager
async def serving(pages):
    app = web.Application(middlewares=[in_json])
    app.on_response_prepare.append(sign)
    app.add_routes(Pages(pages).routes())
    async with (
        serve_http(app, host="127.0.0.1", port=0) as port,
        aiohttp.ClientSession(auto_decompress=False) as http,
    ):

        async def ask(path, method="GET", **headers):
            url = URL(f"http://127.0.0.1:{port}{path}", encoded=True)
            headers = {
                "Accept-Encoding": "identity",
                **{name.replace("_", "-"): value for name, value in headers.items()},
            }
            async with http.request(method, url, headers=headers) as answer:
                return answer.status, answer.headers, await answer.read()

        yield ask, port


@pytest.mark.parametrize("path", ["/", "/dashboard", "/dashboard/", "/dashboard/a/b"])
async def test_one_page_answers_every_address_of_the_dashboard(built, path):
    async with serving(built) as (ask, _):
        status, headers, body = await ask(path)

    assert (status, body.decode()) == (200, PAGE)
    assert headers["Content-Type"] == "text/html; charset=utf-8"
    assert headers["Cache-Control"] == "no-cache"


@pytest.mark.parametrize("path", ["/", "/dashboard/assets/index-abc.js"])
async def test_the_policy_allows_this_origin_and_nothing_inline(built, path):
    async with serving(built) as (ask, _):
        _, headers, _ = await ask(path)

    policy = dict(
        part.strip().split(" ", 1)
        for part in headers["Content-Security-Policy"].split(";")
    )
    assert policy["default-src"] == "'none'"
    assert {policy["script-src"], policy["style-src"], policy["connect-src"]} == {
        "'self'"
    }
    assert policy["frame-ancestors"] == policy["base-uri"] == "'none'"
    assert policy["require-trusted-types-for"] == "'script'"
    assert "unsafe" not in headers["Content-Security-Policy"]
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["X-Frame-Options"] == "DENY"
    assert headers["Referrer-Policy"] == "no-referrer"
    assert headers["Cross-Origin-Opener-Policy"] == "same-origin"


async def test_what_the_page_loads_is_kept_for_ever_in_the_shortest_coding(built):
    async with serving(built) as (ask, _):
        path = "/dashboard/assets/index-abc.js"
        plain = await ask(path)
        brotli = await ask(path, Accept_Encoding="gzip, deflate, br")
        gzip = await ask(path, Accept_Encoding="br;q=0, gzip;q=0.5")
        icon = await ask("/dashboard/assets/bell.svg", Accept_Encoding="br")
        again = await ask(
            path, Accept_Encoding="br", If_None_Match=f"W/{brotli[1]['ETag']}"
        )
        other = await ask(path, If_None_Match=brotli[1]["ETag"])
        head = await ask(path, "HEAD")

    assert [answer[2] for answer in (plain, brotli, gzip)] == [
        b"run()",
        b"as brotli",
        b"as gzip",
    ]
    assert brotli[1]["Content-Encoding"] == "br"
    assert "Content-Encoding" not in plain[1]
    assert len({answer[1]["ETag"] for answer in (plain, brotli, gzip)}) == 3
    for _, headers, _ in (plain, brotli, gzip, icon):
        assert headers["Cache-Control"] == "public, max-age=31536000, immutable"
        assert headers["Vary"] == "Accept-Encoding"
    assert plain[1]["Content-Type"].partition(";")[0] in {
        "text/javascript",
        "application/javascript",
    }
    assert icon[1]["Content-Type"] == "image/svg+xml"
    assert (again[0], again[2]) == (304, b"")
    assert (other[0], other[2]) == (200, b"run()")
    assert (head[0], head[2]) == (200, b"")


@pytest.mark.parametrize(
    "path",
    [
        "/dashboard/assets/../../secret.txt",
        "/dashboard/assets/..%2F..%2Fsecret.txt",
        "/dashboard/assets/..%252F..%252Fsecret.txt",
        "/dashboard/assets/%2E%2E/%2E%2E/secret.txt",
        "/dashboard/assets/..%5C..%5Csecret.txt",
        "/dashboard/assets/%2Fetc%2Fpasswd",
        "/dashboard/assets/index-abc.js%00.html",
        "/dashboard/assets/index-abc.js.br",
        "/dashboard/assets/index.html",
        "/dashboard/assets/",
    ],
)
async def test_nothing_else_is_handed_out(built, path):
    async with serving(built) as (ask, port):
        status, _, body = await ask(path)
        # As it stands, with nobody on the way who tidies it up.
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(f"GET {path} HTTP/1.0\r\nHost: x\r\n\r\n".encode())
        raw = await reader.read()
        writer.close()
        await writer.wait_closed()

    assert b"secret" not in body + raw.partition(b"\r\n\r\n")[2]
    assert b"root:" not in body + raw
    # Below the dashboard, an address that is no file's is the page's to read.
    assert status == 404 or body.decode() == PAGE


async def test_a_missing_file_is_missing_in_json(built):
    async with serving(built) as (ask, _):
        status, headers, body = await ask("/dashboard/assets/nothing.js")

    assert (status, headers["Content-Type"]) == (404, "application/json")
    assert b"NOT_FOUND" in body


async def test_pages_that_are_not_built_say_how_and_are_found_once_they_are(tmp_path):
    pages = tmp_path / "pages"
    async with serving(pages) as (ask, _):
        status, headers, body = await ask("/")
        assert (status, headers["Cache-Control"]) == (503, "no-store")
        assert b"make dashboard" in body
        assert "default-src 'none'" in headers["Content-Security-Policy"]

        (pages / "assets").mkdir(parents=True)
        (pages / "index.html").write_text(PAGE)
        assert (await ask("/"))[0] == 200
        # Built again while it runs: the new page's files are found.
        (pages / "assets" / "new.js").write_text("new()")
        assert (await ask("/dashboard/assets/new.js"))[2] == b"new()"
