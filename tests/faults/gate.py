"""A gate before a server: who talks to the server through it finds nobody there while it is shut."""

import contextlib
import socket
import threading

LOOPBACK = "127.0.0.1"


class Gate:
    """Passes connections on to a port of this machine, and refuses them, and ends those that there are, while shut.

    It stays when the test is over: Prefect sends later what it could not send at once.
    """

    def __init__(self, behind: int) -> None:
        self._behind = behind
        self._lock = threading.Lock()
        self._passing: set[socket.socket] = set()
        self.is_open = True
        self._listening = socket.create_server((LOOPBACK, 0))
        self.port: int = self._listening.getsockname()[1]
        threading.Thread(target=self._accept, args=(self._listening,), daemon=True).start()

    def shut(self) -> None:
        """Be gone, as a server is whose process has ended."""
        with self._lock:
            self.is_open = False
            _end(self._listening)
            for one in self._passing:
                _end(one)
            self._passing.clear()

    def open(self) -> None:
        """Be there again, on the same port."""
        self.is_open = True
        self._listening = socket.create_server((LOOPBACK, self.port))
        threading.Thread(target=self._accept, args=(self._listening,), daemon=True).start()

    def _accept(self, listening: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while True:
                near, _ = listening.accept()
                far = socket.create_connection((LOOPBACK, self._behind))
                with self._lock:
                    if not self.is_open:
                        _end(near)
                        _end(far)
                        return
                    self._passing |= {near, far}
                for one, other in ((near, far), (far, near)):
                    threading.Thread(target=self._pass, args=(one, other), daemon=True).start()

    def _pass(self, one: socket.socket, other: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := one.recv(65536):
                other.sendall(data)
        _end(one)
        _end(other)


def _end(one: socket.socket) -> None:
    with contextlib.suppress(OSError):
        one.shutdown(socket.SHUT_RDWR)
    one.close()
