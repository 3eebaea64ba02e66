"""The few pages of a login: plain HTML without script, one style, everything escaped."""

from __future__ import annotations

import base64
from hashlib import sha256
from html import escape
from urllib.parse import urlsplit

from starlette.responses import HTMLResponse

__all__ = ["approve_page", "login_page", "moved_page"]

_STYLE = (
    "body{font:16px/1.5 system-ui,sans-serif;max-width:24rem;margin:4rem auto;padding:0 1rem;color:#111;background:#fff}label{display:block;margin-top:1rem}"
    "input,button{font:inherit;width:100%;padding:.5rem;box-sizing:border-box}button{margin-top:1.5rem}@media(prefers-color-scheme:dark){body{color:#eee;background:#111}}"
)
_HASH = base64.b64encode(sha256(_STYLE.encode()).digest()).decode()


def _page(title: str, body: str, *, status: int = 200, goes_to: str = "", head: str = "") -> HTMLResponse:
    origin = "" if not goes_to else "{0.scheme}://{0.netloc}".format(urlsplit(goes_to))
    text = (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width"><title>{escape(title)}</title>{head}'
        f"<style>{_STYLE}</style></head><body><main><h1>{escape(title)}</h1>{body}</main></body></html>"
    )
    policy = (
        f"default-src 'none'; style-src 'sha256-{_HASH}'; form-action 'self' {origin}; frame-ancestors 'none'; base-uri 'none'".replace(
            " ;", ";"
        )
    )
    return HTMLResponse(text, status, {"Content-Security-Policy": policy})


def _hidden(fields: dict[str, str]) -> str:
    return "".join(
        f'<input type="hidden" name="{escape(name, quote=True)}" value="{escape(value, quote=True)}">' for name, value in fields.items()
    )


def login_page(
    action: str,
    fields: dict[str, str],
    *,
    wrong: bool = False,
    goes_to: str = "",
    outside: dict[str, str] | None = None,
    has_local: bool = True,
) -> HTMLResponse:
    """Return the page on which somebody logs in.

    Parameters
    ----------
    action : where the form goes. fields : what goes with it.
    goes_to : the page elsewhere to which the answer may lead.
    outside : name -> path of the providers at which one may log in instead.
    """
    note = '<p role="alert">That did not work.</p>' if wrong else ""
    form = (
        f'<form method="post" action="{escape(action, quote=True)}">{_hidden(fields)}<label>Name<input name="name" autocomplete="username" required></label>'
        '<label>Password<input name="password" type="password" autocomplete="current-password" required></label><button>Log in</button></form>'
        if has_local
        else ""
    )
    links = "".join(f'<p><a href="{escape(path, quote=True)}">Log in with {escape(name)}</a></p>' for name, path in (outside or {}).items())
    return _page("Gemel: log in", note + form + links, status=401 if wrong else 200, goes_to=goes_to)


def approve_page(action: str, fields: dict[str, str], client: str, scopes: list[str], *, goes_to: str) -> HTMLResponse:
    """Return the page on which somebody who is logged in lets a program act for them."""
    listed = "".join(f"<li><code>{escape(scope)}</code></li>" for scope in scopes) or "<li>nothing about anybody</li>"
    body = (
        f"<p>The program <strong>{escape(client)}</strong> asks to act for you, with:</p><ul>{listed}</ul>"
        f'<form method="post" action="{escape(action, quote=True)}">{_hidden(fields)}<button name="answer" value="yes">Allow</button>'
        '<button name="answer" value="no">Refuse</button></form>'
    )
    return _page("Gemel: allow a program", body, goes_to=goes_to)


def moved_page(path: str) -> HTMLResponse:
    """Return a page that goes on to another of this server: after a login elsewhere, since a strict cookie does not come with a redirect from there."""
    head = f'<meta http-equiv="refresh" content="0;url={escape(path, quote=True)}">'
    return _page("Gemel: logged in", f'<p><a href="{escape(path, quote=True)}">Go on</a></p>', head=head)
