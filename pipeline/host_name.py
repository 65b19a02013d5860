"""Whether a host's name resolves, where a driver only says that it could not connect."""

import socket
from threading import Thread

UNRESOLVED = "the name {name} does not resolve: {why}"


def unresolved(name: str, *, timeout_s: float) -> str | None:
    """Return that a name does not resolve, and why; None where it does.

    Args:
        name: of a host, or its IP address.
        timeout_s: how long the answer is waited for; a resolver cannot be interrupted, so that it
            is asked in a thread of its own.
    """
    found: list[str | None] = []

    def look_up() -> None:
        try:
            socket.getaddrinfo(name, None, type=socket.SOCK_STREAM)
        except socket.gaierror as exc:
            found.append(exc.strerror)
        except UnicodeError:  # an empty or overlong part between two dots
            found.append("no name of a host")
        else:
            found.append(None)

    asking = Thread(target=look_up, name="look-up", daemon=True)
    asking.start()
    asking.join(timeout_s)
    why = found[0] if found else f"no answer for {timeout_s:g} s"
    return None if why is None else UNRESOLVED.format(name=name, why=why)
