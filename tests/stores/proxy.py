"""A man in the middle of a connection to Postgres, who can lose what the server answers."""

from __future__ import annotations

import socket
import threading
from contextlib import suppress

from psycopg.conninfo import conninfo_to_dict

CHUNK = 65_536


class Proxy:
    """Passes bytes on between clients and the server of `url`, until told to lose answers."""

    def __init__(self, url: str) -> None:
        parts = conninfo_to_dict(url)
        self._server = f"{parts['host']}/.s.PGSQL.{parts.get('port', 5432)}"
        self._door = socket.create_server(("127.0.0.1", 0))
        self._open: list[socket.socket] = []
        self.lose_after: bytes = b""
        """From the moment that a client has sent this: the server gets it, the client no answer."""
        self.lose_at: bytes = b""
        """From the moment that a client has sent this: the server does not get it."""
        self.lost = threading.Event()
        port = self._door.getsockname()[1]
        self.url = f"postgresql://{parts['user']}@127.0.0.1:{port}/{parts['dbname']}"
        self._accepting = threading.Thread(target=self._accept, daemon=True)
        self._accepting.start()

    def close(self) -> None:
        with suppress(OSError):
            self._door.shutdown(socket.SHUT_RDWR)
        self._door.close()
        self._accepting.join(5)
        for each in self._open:
            with suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
            each.close()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._door.accept()
                server = socket.socket(socket.AF_UNIX)
                self._open += [client, server]
                server.connect(self._server)
                deaf = threading.Event()
                threading.Thread(target=self._up, args=(client, server, deaf), daemon=True).start()
                threading.Thread(
                    target=self._down, args=(server, client, deaf), daemon=True
                ).start()

    def _up(self, client: socket.socket, server: socket.socket, deaf: threading.Event) -> None:
        with suppress(OSError):
            while data := client.recv(CHUNK):
                if self.lose_at and self.lose_at in data:
                    self.lose_at = b""
                    self.lost.set()
                    break
                if self.lose_after and self.lose_after in data:
                    self.lose_after = b""
                    deaf.set()
                server.sendall(data)
        with suppress(OSError):
            server.shutdown(socket.SHUT_WR)
            client.shutdown(socket.SHUT_RDWR)

    def _down(self, server: socket.socket, client: socket.socket, deaf: threading.Event) -> None:
        with suppress(OSError):
            while data := server.recv(CHUNK):
                if deaf.is_set():
                    self.lost.set()
                    break
                client.sendall(data)
        with suppress(OSError):
            client.shutdown(socket.SHUT_RDWR)
