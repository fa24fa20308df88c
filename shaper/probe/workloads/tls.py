"""tls: a TLS handshake (RFC 8446), one request and one response, with the standard library's ssl."""

import ssl
from collections.abc import Callable
from typing import Literal, TypeVar

from shaper.errors import UsageError
from shaper.probe.ends.calls import Socket
from shaper.probe.ends.end import End
from shaper.probe.ends.workload import Workload
from shaper.units import Size

T = TypeVar("T")


class Tls(Workload):
    """The certificate is made for the run; the client doesn't check it."""

    version: Literal["1.3", "1.2"] = "1.3"
    """The handshake of 1.2 takes one more round trip."""
    request: Size = 100
    """Bytes of the request."""
    response: Size = 1000
    """Bytes of the response."""

    def server(self, end: End) -> None:
        context = self._context(ssl.PROTOCOL_TLS_SERVER)
        _give_certificate(context)
        connection = end.accept()
        session = Session(context, connection, is_server=True)
        session.read(self.request)
        session.write(bytes(self.response))
        connection.recv(1)
        connection.close()

    def client(self, end: End) -> None:
        context = self._context(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        connection = end.connect()
        session = Session(context, connection, is_server=False)
        session.write(bytes(self.request))
        session.read(self.response)
        connection.close()

    def _context(self, protocol: ssl._SSLMethod) -> ssl.SSLContext:
        context = ssl.SSLContext(protocol)
        version = ssl.TLSVersion.TLSv1_3 if self.version == "1.3" else ssl.TLSVersion.TLSv1_2
        context.minimum_version = context.maximum_version = version
        return context


class Session:
    """One end of a TLS connection. It goes through memory buffers, so that every call on the socket is recorded."""

    def __init__(self, context: ssl.SSLContext, connection: Socket, *, is_server: bool) -> None:
        self._connection = connection
        connection.send_at_once()
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._incoming, self._outgoing, is_server)
        self._until_done(self._tls.do_handshake)

    def read(self, size: int) -> None:
        """Read this many bytes."""
        while size > 0:
            size -= len(self._until_done(lambda: self._tls.read(65536)))

    def write(self, data: bytes) -> None:
        """Write all of it."""
        self._until_done(lambda: self._tls.write(data))

    def _until_done(self, step: Callable[[], T]) -> T:
        """What the step returns, once the peer has sent all that it needs."""
        while True:
            try:
                return step()
            except ssl.SSLWantReadError:
                self._flush()
                if received := self._connection.recv(65536):
                    self._incoming.write(received)
                else:
                    self._incoming.write_eof()
            finally:
                self._flush()

    def _flush(self) -> None:
        if data := self._outgoing.read():
            self._connection.sendall(data)


def _give_certificate(context: ssl.SSLContext) -> None:
    try:
        import trustme
    except ModuleNotFoundError:
        raise UsageError("the tls workload makes its certificate with trustme: pip install 'nfq-shaper[tls]'") from None
    trustme.CA().issue_cert("localhost").configure_cert(context)
