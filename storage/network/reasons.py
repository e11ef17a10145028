"""Why a URL gave no picture: one word each, which tables count and `--retry-failed` takes."""

from storage.errors import ClcError

BAD_URL = "bad_url"
ADDRESS_REFUSED = "address_refused"
NAME_UNKNOWN = "name_unknown"
NAME_SERVER_FAILED = "name_server_failed"
CONNECT_FAILED = "connect_failed"
CONNECT_TIMEOUT = "connect_timeout"
TLS_FAILED = "tls_failed"
READ_FAILED = "read_failed"
READ_TIMEOUT = "read_timeout"
DEADLINE = "deadline"
HOST_GIVEN_UP = "host_given_up"
ROBOTS_DISALLOWED = "robots_disallowed"
ROBOTS_UNREACHABLE = "robots_unreachable"
NO_AI = "noai"
TOO_MANY_REDIRECTS = "too_many_redirects"
TOO_MANY_BYTES = "too_many_bytes"
WRONG_CONTENT_TYPE = "wrong_content_type"
WRONG_ENCODING = "wrong_encoding"
EMPTY = "empty"
UNEXPECTED = "unexpected"
_TRANSIENT_STATUSES = (408, 425, 429, 500, 502, 503, 504)

TRANSIENT = frozenset(
    {
        NAME_SERVER_FAILED,
        CONNECT_FAILED,
        CONNECT_TIMEOUT,
        READ_FAILED,
        READ_TIMEOUT,
        DEADLINE,
        HOST_GIVEN_UP,
        ROBOTS_UNREACHABLE,
        *(f"http_{status}" for status in _TRANSIENT_STATUSES),
    }
)
"""Reasons that another hour may not know: a run that is to fetch the same again tries these."""

WORTH_A_RETRY = TRANSIENT - {DEADLINE, HOST_GIVEN_UP, ROBOTS_UNREACHABLE}
"""Reasons that another second may not know: the same run tries again."""

TROUBLE = frozenset(
    {NAME_UNKNOWN, NAME_SERVER_FAILED, CONNECT_FAILED, CONNECT_TIMEOUT, TLS_FAILED, READ_FAILED, READ_TIMEOUT, DEADLINE}
)
"""Reasons that are the host's and not the URL's: many in a row, and the host is given up."""

HOSTS_OWN = TROUBLE | {ADDRESS_REFUSED, HOST_GIVEN_UP}
"""Reasons that are the same for every URL of a host."""


def of_status(status: int) -> str:
    """Return the reason of an answer with this status, which is no 200."""
    return f"http_{status}"


class FetchFailure(ClcError):
    """A URL gave no picture: `reason` is one of the words above, the text says what happened.

    `wait_s` is how long the server asks to be left alone. `is_final` says that trying again was tried.
    """

    def __init__(self, reason: str, text: str, wait_s: float = 0.0, *, is_final: bool = False) -> None:
        super().__init__(text)
        self.reason = reason
        self.wait_s = wait_s
        self.is_final = is_final
