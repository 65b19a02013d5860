"""Credentials out of URLs, and out of any text a driver makes of them."""

import re
from urllib.parse import quote, unquote

MASK = "***"

# scheme://user:password@ — greedy up to the last @ before white space or a quote, since a password
# that was not percent-encoded may hold @, : and / itself. Frigate's and LLaVA-webui's patterns stop
# at the first @ and print the rest.
_USERINFO = re.compile(r"(?P<scheme>[a-zA-Z][a-zA-Z0-9+.-]*://)[^\s'\"]*@")
# The same of an address that lacks its scheme, or half of it: user:password@host, rtsp:/user:...
_BARE_USERINFO = re.compile(r"(?<![^\s'\"=/(<,;])[^\s'\"=/(<,;:@]+:(?!//)[^\s'\"]*@(?=[\w\[])")
_PATH = re.compile(r"(?P<start>[a-zA-Z][a-zA-Z0-9+.-]*://[^\s'\"/?#]*)(?P<path>/[^\s'\"?#]*)")
_SEGMENT = re.compile(r"[^/;&=,]+")
_QUERY = re.compile(r"(?P<name>[?&;][^\s'\"?&;=]*=)(?P<value>[^\s'\"&;]*)")
_PATH_PARAMETER = re.compile(r"(?P<name>[/&;,_][A-Za-z]+=)(?P<value>(?:(?!_[a-z]+=)[^/&;,])*)")
_SECRET_NAME = re.compile(
    r"token|key|sig|pass|pwd|secret|auth|user|usr|login|cred|sess|jwt|hash|hmac|nonce|ticket|bearer"
    r"|access|account|licen|private|(?:^|[^a-z])(?:u|p|pw|pin|code|sid|uid|st)(?:$|[^a-z])",
    re.I,
)
_HOST = re.compile(r"(?:\[[0-9a-fA-F:.]+(?:%\w+)?\]|[^\[\]:@?#]*)(?::\d*)?")
_HUB_TOKEN = re.compile(r"\bhf_[A-Za-z0-9]{8,}")

# A word is no random one where it is made of words, short numbers and codecs, such as
# h264Preview_01_main; shorter ones hold too little to be a secret that grants anything.
_MIN_TOKEN_LEN = 16
_MIN_LITERAL_LEN = 4  # shorter ones stand in a text for other reasons too
_MAX_WORD_LEN = 24
_READABLE = re.compile(
    r"(?>[A-Z]?[a-z]{3,}+|[A-Z]{3,}+|\d{1,4}(?!\d)|[hH]\.?26[45]|mp4|[._~+-]|%20)*+"
)
_HEX = re.compile(r"[0-9a-fA-F-]{16,}")


def redact(text: str, *secrets: str) -> str:
    """Return `text` without userinfo, secrets in paths and queries of URLs, or any of `secrets`.

    Masked are the values of query parameters that are named like a secret (`access_token`,
    `api_key`, `sig`, `pwd`, `user`), and in paths and other parameters what looks random.

    Args:
        text: a log line, an exception's text, a URL.
        secrets: literal strings to blank wherever they stand, as they are and percent-encoded
            or -decoded. Empty ones are passed over.
    """
    for secret in sorted({form for s in secrets if s for form in _forms(s)}, key=len, reverse=True):
        text = text.replace(secret, MASK)
    text = _USERINFO.sub(rf"\g<scheme>{MASK}@", text)
    text = _BARE_USERINFO.sub(f"{MASK}@", text)
    text = _HUB_TOKEN.sub(MASK, text)
    text = _PATH.sub(lambda found: found["start"] + _masked_path(found["path"]), text)
    return _QUERY.sub(_masked_parameter, text)


def url_secrets(url: str) -> tuple[str, ...]:
    """Return for `redact` what in `url` is secret, wherever a driver may write it; () for nothing.

    That is the password, the user:password pair, and long values of the path and the query. The
    user name alone is no secret: blanking every "admin" in a text would destroy it.
    """
    userinfo = _userinfo(url)
    bare, _ = split_credentials(url)
    path = _PATH.match(bare)
    parameters = [*_QUERY.finditer(bare), *_PATH_PARAMETER.finditer(path["path"] if path else "")]
    secrets = [
        found["value"]
        for found in parameters
        if len(found["value"]) >= _MIN_LITERAL_LEN and _is_secret(found)
    ]
    secrets += [part for part in _SEGMENT.findall(path["path"] if path else "") if _is_random(part)]
    if userinfo is None:
        return tuple(secrets)
    _, found, password = userinfo.partition(":")
    return (userinfo, password, *secrets) if found and password else (userinfo, *secrets)


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
    """Return what stands before the @ that ends the userinfo, or None when there is none.

    `@`, `:`, `#` and `?` in a password need no encoding here; a `/` does, unless what stands before
    it cannot be read as host:port.
    """
    _, found, rest = url.partition("://")
    if not found:
        return None
    authority = rest.partition("/")[0]
    if _HOST.fullmatch(authority) or "@" not in rest:
        return None
    for at in re.finditer("@", rest):  # the first one behind which a host stands
        if _HOST.fullmatch(rest[at.end() :].partition("/")[0]):
            return rest[: at.start()]
    return (authority if "@" in authority else rest).rpartition("@")[0]


def _masked_path(path: str) -> str:
    path = _PATH_PARAMETER.sub(_masked_parameter, path)
    return _SEGMENT.sub(lambda found: MASK if _is_random(found[0]) else found[0], path)


def _masked_parameter(found: re.Match[str]) -> str:
    return found["name"] + (MASK if _is_secret(found) else found["value"])


def _is_secret(parameter: re.Match[str]) -> bool:
    name, value = unquote(parameter["name"]), parameter["value"]
    return bool(value) and (
        bool(_SECRET_NAME.search(name)) or any(map(_is_random, value.split("?")))
    )


def _is_random(word: str) -> bool:
    if len(word) < _MIN_TOKEN_LEN:
        return False
    longest = max(map(len, re.split(r"[._~+-]|%20", word)))
    return bool(_HEX.fullmatch(word)) or longest >= _MAX_WORD_LEN or not _READABLE.fullmatch(word)


def _forms(secret: str) -> set[str]:
    return {secret, quote(secret, safe=""), quote(secret), unquote(secret)}
