"""Credentials out of URLs, and out of any text a driver makes of them."""

import re
from urllib.parse import quote, unquote

MASK = "***"

# scheme://user:password@ — greedy up to the last @ before white space or a quote, since a password
# that was not percent-encoded may hold @, : and / itself. Frigate's and LLaVA-webui's patterns stop
# at the first @ and print the rest.
_USERINFO = re.compile(r"(?P<scheme>[a-zA-Z][a-zA-Z0-9+.-]*://)[^\s'\"]*@")
_SECRET_QUERY = re.compile(
    r"(?i)([?&](?:\w+_)?(?:password|passwd|pwd|pass|token|key|secret|auth|user|username)=)[^&\s'\"]*"
)


def redact(text: str, *secrets: str) -> str:
    """Return `text` without userinfo in URLs, secret query values, or any of `secrets`.

    Args:
        text: a log line, an exception's text, a URL.
        secrets: literal strings to blank wherever they stand, as they are and percent-encoded
            or -decoded. Empty ones are passed over.
    """
    for secret in sorted({form for s in secrets if s for form in _forms(s)}, key=len, reverse=True):
        text = text.replace(secret, MASK)
    text = _USERINFO.sub(rf"\g<scheme>{MASK}@", text)
    return _SECRET_QUERY.sub(rf"\g<1>{MASK}", text)


def url_secrets(url: str) -> tuple[str, ...]:
    """Return the password of `url`, and its user:password pair, for `redact`; () when it has none.

    The user name alone is no secret: blanking every "admin" in a text would destroy it.
    """
    userinfo = _userinfo(url)
    if userinfo is None:
        return ()
    _, found, password = userinfo.partition(":")
    return (userinfo, password) if found and password else (userinfo,)


def split_credentials(url: str) -> tuple[str, str | None]:
    """Return (url without userinfo, userinfo or None)."""
    userinfo = _userinfo(url)
    if userinfo is None:
        return url, None
    scheme, _, rest = url.partition("://")
    return f"{scheme}://{rest[len(userinfo) + 1 :]}", userinfo


def encode_credentials(url: str) -> str:
    """Return `url` with its user and password percent-encoded, so that drivers split it right.

    `rtsp://admin:p@ss/word@host/` names the password `p@ss/word`; read by RFC 3986 its host would
    be `ss`. Parts that are already encoded stay as they are.
    """
    bare, userinfo = split_credentials(url)
    if userinfo is None:
        return url
    user, found, password = userinfo.partition(":")
    encoded = quote(unquote(user), safe="") + (found and ":" + quote(unquote(password), safe=""))
    scheme, _, rest = bare.partition("://")
    return f"{scheme}://{encoded}@{rest}"


def _userinfo(url: str) -> str | None:
    """Return what cached before the @ that ends the userinfo, or None when there is none.

    `@`, `:`, `#` and `?` in a password need no encoding here; a `/` does, unless what stands before
    it cannot be read as host:port.
    """
    _, found, rest = url.partition("://")
    if not found:
        return None
    authority, _, path = rest.partition("/")
    if "@" in authority:
        return authority.rpartition("@")[0]
    _, colon, port = authority.rpartition(":")
    if "@" in path and colon and not port.isdigit():
        return rest.rpartition("@")[0]
    return None


def _forms(secret: str) -> set[str]:
    return {secret, quote(secret, safe=""), quote(secret), unquote(secret)}
