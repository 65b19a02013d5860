"""Why Redis does not take what it is given, in a word, and whether that is the message's own fault.

What Redis holds against one message is listed; everything else, known or not, is waited out. A list
the other way round loses what nobody thought of: in a cluster, `CROSSSLOT` would be held against
every single message (redisson#1207).
"""

import re
import ssl
from collections.abc import Iterator

from redis import exceptions
from redis.exceptions import RedisError

from pipeline.errors import PublishError
from pipeline.host_name import UNRESOLVED

# The key that a message belongs under is of another type, or its stream can number no more.
# Whole sentences: one word may be a key's name in another sentence.
_OWN_FAULTS = {
    "WRONGTYPE Operation against a key holding the wrong kind of value": "wrong_type",
    "The stream has exhausted the last possible ID": "stream_exhausted",
}

_CLASSES: tuple[tuple[type[BaseException], str], ...] = (
    (ssl.SSLError, "tls_refused"),
    (exceptions.AuthenticationError, "auth_failed"),
    (exceptions.AuthorizationError, "auth_failed"),
    (exceptions.NoPermissionError, "not_permitted"),
    (exceptions.BusyLoadingError, "loading"),
    (exceptions.ReadOnlyError, "read_only"),
    (exceptions.OutOfMemoryError, "out_of_memory"),
    (exceptions.MasterDownError, "master_down"),
    (exceptions.ClusterError, "cluster"),
    (exceptions.AskError, "cluster"),  # MOVED is one
    (exceptions.TryAgainError, "cluster"),
    (exceptions.ClusterCrossSlotError, "cluster"),
)
# Most telling first, looked for anywhere: Redis before 7 wraps an error inside a script, and its
# refusals there carry no NOPERM (redis#12418, redis#10181).
_WORDS: tuple[tuple[str, str], ...] = (
    (r"unknown command|This Redis command is not allowed from script", "unknown_command"),
    (r"NOAUTH|WRONGPASS|invalid username-password", "auth_failed"),
    (
        r"NOPERM|has no permissions|ACL failure|The user executing the script can't",
        "not_permitted",
    ),
    (r"LOADING", "loading"),
    (r"READONLY|The previous master is now a slave", "read_only"),
    (r"OOM", "out_of_memory"),
    (r"MISCONF", "cannot_persist"),
    (r"NOREPLICAS", "no_replicas"),
    (r"MASTERDOWN", "master_down"),
    (r"BUSY", "busy"),
    (r"CROSSSLOT|CLUSTERDOWN|MOVED|TRYAGAIN", "cluster"),
    (r"WRONGTYPE", "wrong_type"),
    (r"DB index is out of range|invalid DB index|SELECT is not allowed", "no_such_database"),
    (r"max number of clients", "too_many_clients"),
    (r"DENIED", "protected_mode"),
    (r"No master found", "no_master"),
    (r"user_script|Error running script|Error compiling script", "script_failed"),
)
_KNOWN = tuple((re.compile(rf"(?<!\w)(?:{words})"), reason) for words, reason in _WORDS)
REASONS = frozenset(
    {reason for _, reason in (*_CLASSES, *_WORDS)}
    | {"timeout", "unreachable", "refused", "id_in_use"}
)
"""Every `reason` of a PublishError of Redis'."""
# As the driver tells of a name that does not resolve.
_NO_SUCH_NAME = re.compile(r"Error -\d+ connecting to ([\w.-]+):\d+\. ([\w ]+)")
_CODE = re.compile(r"[A-Z]{3,20}\b")
_DETAILS = {
    "cluster": "Redis Cluster is not supported; expected one server, or one behind Sentinel",
    "no_such_database": "the address names a database that the server does not have",
}


def own_fault(reply: Exception) -> str | None:
    """Return the word for what is this one message's fault, whatever is tried; None where not."""
    text = str(reply).removeprefix("ERR ")
    return next((word for said, word in _OWN_FAULTS.items() if text.startswith(said)), None)


def failure(exc: Exception, *, is_tls: bool = False) -> PublishError:
    """Return what publishing has to wait for.

    Its text is a word of ours, and at most the server's own code beside it: what the driver says
    may carry what was sent.
    """
    for link in _chain(exc):
        if is_tls and isinstance(link, FileNotFoundError | PermissionError):
            return PublishError("tls_refused", "a certificate's file cannot be read")
        for kind, reason in _CLASSES:
            if isinstance(link, kind):
                return PublishError(reason, _DETAILS.get(reason) or _tls_detail(link))
    text = str(exc)
    if isinstance(exc, RedisError):
        for words, reason in _KNOWN:
            if words.search(text):
                return PublishError(reason, _DETAILS.get(reason, ""))
    if isinstance(exc, exceptions.TimeoutError):
        return PublishError("timeout")
    if isinstance(exc, exceptions.ConnectionError) or not isinstance(exc, RedisError):
        missing = _NO_SUCH_NAME.match(text)
        detail = UNRESOLVED.format(name=missing[1], why=missing[2]) if missing else ""
        return PublishError("unreachable", detail)
    code = _CODE.match(text)
    return PublishError("refused", code[0].lower() if code else "")


def _tls_detail(exc: BaseException) -> str:
    if isinstance(exc, ssl.SSLCertVerificationError):
        return str(exc.verify_message)
    if isinstance(exc, ssl.SSLError):
        return (exc.reason or "").lower().replace("_", " ")
    return ""


def _chain(exc: BaseException | None) -> Iterator[BaseException]:
    """Yield an exception and what it was made of: the driver puts its own over those of TLS."""
    while exc is not None:
        yield exc
        exc = exc.__cause__ or exc.__context__
