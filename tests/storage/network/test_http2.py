"""Secure connections: HTTP/2 where the server speaks it, and none where nobody vouches for the server."""

import asyncio
import datetime
import ssl
from pathlib import Path

import h2.config
import h2.connection
import h2.events
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from storage.network.crawl import Visit
from tests.storage.network.world import World, visit

HOST = "secure.example"


def certificate(folder: Path) -> tuple[Path, Path]:
    """Make a certificate of a day, and its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, HOST)])
    now = datetime.datetime.now(datetime.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(HOST)]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    (folder / "cert.pem").write_bytes(made.public_bytes(serialization.Encoding.PEM))
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    (folder / "key.pem").write_bytes(private)
    return folder / "cert.pem", folder / "key.pem"


class Server:
    """Speaks HTTP/2: no robots.txt, and a picture everywhere else. Counts connections and requests."""

    def __init__(self) -> None:
        self.connections = 0
        self.requests: list[str] = []

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        connection = h2.connection.H2Connection(h2.config.H2Configuration(client_side=False))
        connection.initiate_connection()
        try:
            while True:
                writer.write(connection.data_to_send())
                await writer.drain()
                data = await reader.read(65536)
                if not data:
                    return
                for event in connection.receive_data(data):
                    if isinstance(event, h2.events.RequestReceived):
                        self._answer(connection, event)
        except (ConnectionError, ssl.SSLError, asyncio.CancelledError):
            pass
        finally:
            writer.close()

    def _answer(self, connection: h2.connection.H2Connection, event: h2.events.RequestReceived) -> None:
        path = dict(event.headers)[b":path"].decode()
        self.requests.append(path)
        status = "404" if path == "/robots.txt" else "200"
        connection.send_headers(event.stream_id, [(":status", status), ("content-type", "image/png")])
        connection.send_data(event.stream_id, b"picture", end_stream=True)


async def crawled(server: Server, files: tuple[Path, Path], folder: Path) -> dict[str, Visit]:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*files)
    context.set_alpn_protocols(["h2"])
    running = await asyncio.start_server(server.serve, "127.0.0.1", 0, ssl=context)
    world = World()
    world.host(HOST)
    world.port = running.sockets[0].getsockname()[1]
    try:
        return await visit(world, [f"https://{HOST}/{number}.png" for number in range(8)], folder)
    finally:
        running.close()


def test_a_server_that_speaks_it_is_asked_by_http2_over_one_connection(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server, files = Server(), certificate(tmp_path)
    monkeypatch.setenv("SSL_CERT_FILE", str(files[0]))
    ended = asyncio.run(crawled(server, files, tmp_path))
    assert {(one.reason, one.size_bytes) for one in ended.values()} == {("", 7)}
    assert len(server.requests) == 9
    assert server.connections == 1


def test_a_server_for_which_nobody_vouches_is_not_asked(tmp_path: Path) -> None:
    server = Server()
    ended = asyncio.run(crawled(server, certificate(tmp_path), tmp_path))
    assert {one.reason for one in ended.values()} <= {"tls_failed", "host_given_up"}
    assert server.requests == []
