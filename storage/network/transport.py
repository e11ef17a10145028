"""Connections to checked addresses: the layer of httpx below which no name is resolved again.

A name is resolved once a connection, every address that it leads to is checked, and the connection goes to one of the
very addresses that were checked: a name server that answers otherwise a moment later changes nothing. Redirects and
reused connections pass here too, for httpx has no other way out: proxies, cookies, `.netrc` are off.
"""

import asyncio
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from concurrent.futures import ThreadPoolExecutor

import httpcore
import httpx

from storage.network.addresses import AddressRefused, Guard

Resolve = Callable[[str, int], Awaitable[list[str]]]
"""Returns the addresses of a host at a port, as text, in the order in which to try them. Raises `OSError`."""

_MOST_ADDRESSES = 3  # that are tried of one name
_RESOLVERS = 64  # a name server that does not answer must not keep others waiting
_KEEP_ALIVE_S = 10.0


class NameUnknown(OSError):
    """A name leads nowhere: the name server says so, and would say so again."""


class NameServerFailed(OSError):
    """No name server has answered, or has said that it cannot now."""


class SystemResolver:
    """Asks the system for the addresses of names, in threads of its own; `close` lets them go."""

    def __init__(self) -> None:
        self._threads = ThreadPoolExecutor(_RESOLVERS, thread_name_prefix="resolve")

    async def __call__(self, host: str, port: int) -> list[str]:
        """Return the addresses of a host. Raises `NameUnknown` and `NameServerFailed`."""
        ask = asyncio.get_running_loop().run_in_executor(self._threads, _ask, host, port)
        return await ask

    def close(self) -> None:
        """Begin no further question, and wait for none."""
        self._threads.shutdown(wait=False, cancel_futures=True)


class GuardedBackend(httpcore.AsyncNetworkBackend):
    """Opens connections for httpcore, to addresses that the guard lets through and to nothing else."""

    def __init__(self, guard: Guard, resolve: Resolve, inner: httpcore.AsyncNetworkBackend) -> None:
        self._guard = guard
        self._resolve = resolve
        self._inner = inner

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        """Connect to a host. Raises `AddressRefused` where any of its addresses must not be reached."""
        addresses = await self._addresses(host, port, timeout)
        for address in addresses:
            self._guard.check(host, address, port)
        failure: Exception | None = None
        for address in addresses[:_MOST_ADDRESSES]:
            try:
                return await self._inner.connect_tcp(address, port, timeout, local_address, socket_options)
            except (httpcore.ConnectError, httpcore.ConnectTimeout) as error:
                failure = error
        raise failure or NameUnknown(f"{host} has no address")

    async def connect_unix_socket(
        self,
        path: str,
        timeout: float | None = None,
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        """Refuse: nothing on this machine is asked."""
        raise AddressRefused(f"{path} is a socket of this machine")

    async def sleep(self, seconds: float) -> None:
        """Wait."""
        await asyncio.sleep(seconds)

    async def _addresses(self, host: str, port: int, timeout_s: float | None) -> list[str]:
        try:
            async with asyncio.timeout(timeout_s):
                return await self._resolve(host, port)
        except TimeoutError as error:
            raise NameServerFailed(f"no name server tells of {host} within {timeout_s:g} s") from error


class GuardedTransport(httpx.AsyncBaseTransport):
    """A pool of connections over HTTP/1.1 and HTTP/2 for httpx, all of them through one backend."""

    def __init__(self, backend: httpcore.AsyncNetworkBackend, connections: int) -> None:
        self._pool = httpcore.AsyncConnectionPool(
            ssl_context=httpx.create_ssl_context(),
            max_connections=2 * connections,
            max_keepalive_connections=connections,
            keepalive_expiry=_KEEP_ALIVE_S,
            http1=True,
            http2=True,
            network_backend=backend,
        )

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Send a request; the errors are httpcore's, and those of `GuardedBackend`."""
        answer = await self._pool.handle_async_request(
            httpcore.Request(
                method=request.method,
                url=httpcore.URL(
                    scheme=request.url.raw_scheme,
                    host=request.url.raw_host,
                    port=request.url.port,
                    target=request.url.raw_path,
                ),
                headers=request.headers.raw,
                content=request.stream,
                extensions=request.extensions,
            )
        )
        return httpx.Response(answer.status, headers=answer.headers, stream=_Body(answer), extensions=answer.extensions)

    async def aclose(self) -> None:
        """Close all connections."""
        await self._pool.aclose()


class _Body(httpx.AsyncByteStream):
    """The body of an answer, handed on as it comes."""

    def __init__(self, answer: httpcore.Response) -> None:
        self._answer = answer

    async def __aiter__(self) -> AsyncIterator[bytes]:
        async for chunk in self._answer.aiter_stream():
            yield chunk

    async def aclose(self) -> None:
        await self._answer.aclose()


def _ask(host: str, port: int) -> list[str]:
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except socket.gaierror as error:
        unknown = error.errno in (socket.EAI_NONAME, getattr(socket, "EAI_NODATA", socket.EAI_NONAME))
        raise (NameUnknown if unknown else NameServerFailed)(f"{host}: {error.strerror}") from error
    except (UnicodeError, ValueError) as error:
        raise NameUnknown(f"{host}: {error}") from error
    # An address of a link carries its zone, which tells it from one that can be reached everywhere.
    names = (f"{where[0]}%{where[3]}" if len(where) == 4 and where[3] else where[0] for *_, where in found)
    return list(dict.fromkeys(str(name) for name in names))
