"""A TCP forwarder that listens outside a network namespace and connects inside it, in one process.

Run as a program. The caller hands it a listening socket, which stays in the namespace it was made in; the process then
enters the other namespace, so that every connection it opens starts there. Service addresses work: kube-proxy's rules
apply to connections that start on the node.
"""

import argparse
import asyncio
import ctypes
import os
import socket
from pathlib import Path

CLONE_NEWNET = 0x40000000
HIGH_WATER_BYTES = 1 << 20  # per direction and connection; beyond it the sender is made to wait
BACKLOG = 1024


class Side(asyncio.Protocol):
    """One half of a forwarded connection; what it receives, the other half sends."""

    def __init__(self) -> None:
        self.transport: asyncio.Transport | None = None
        self.other: Side | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take the transport and set how much it may hold back."""
        assert isinstance(transport, asyncio.Transport)
        transport.set_write_buffer_limits(high=HIGH_WATER_BYTES)
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        """Pass data on at once."""
        if self.other and self.other.transport:
            self.other.transport.write(data)

    def eof_received(self) -> bool:
        """Pass the end of one direction on and keep the other direction open."""
        if self.other and self.other.transport and not self.other.transport.is_closing():
            self.other.transport.write_eof()
        return True

    def connection_lost(self, exc: Exception | None) -> None:
        """End the other half too: with a reset where this one was reset, else after what is still to be sent."""
        if not self.other or not self.other.transport:
            return
        if exc is None:
            self.other.transport.close()
        else:
            self.other.transport.abort()

    def pause_writing(self) -> None:
        """Stop reading from the other half while this one's buffer is full."""
        if self.other and self.other.transport:
            self.other.transport.pause_reading()

    def resume_writing(self) -> None:
        """Read from the other half again."""
        if self.other and self.other.transport and not self.other.transport.is_closing():
            self.other.transport.resume_reading()


class Accepted(Side):
    """The half that a client opened; it opens the other one before it reads anything."""

    def __init__(self, host: str, port: int) -> None:
        super().__init__()
        self._target = (host, port)
        self._connecting: asyncio.Task[None] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Hold the client's data back until there is somewhere to send it."""
        super().connection_made(transport)
        assert self.transport
        self.transport.pause_reading()
        self._connecting = asyncio.get_running_loop().create_task(self._connect())

    async def _connect(self) -> None:
        assert self.transport
        try:
            _, inner = await asyncio.get_running_loop().create_connection(Side, *self._target)
        except OSError:
            self.transport.abort()
            return
        inner.other, self.other = self, inner
        if self.transport.is_closing():
            assert inner.transport
            inner.transport.close()
            return
        self.transport.resume_reading()


def enter(netns: Path) -> None:
    """Move this process into a network namespace. Python 3.11 has no os.setns, libc has."""
    libc = ctypes.CDLL(None, use_errno=True)
    with netns.open() as file:
        if libc.setns(file.fileno(), CLONE_NEWNET) != 0:
            number = ctypes.get_errno()
            raise OSError(number, f"cannot enter the network namespace {netns}: {os.strerror(number)}")


async def serve(listener: socket.socket, host: str, port: int) -> None:
    """Forward every connection on the listener until the process is ended."""
    server = await asyncio.get_running_loop().create_server(lambda: Accepted(host, port), sock=listener, backlog=BACKLOG)
    async with server:
        await server.serve_forever()


def main() -> None:
    """Read the arguments, enter the namespace, serve."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--netns", type=Path, required=True)
    parser.add_argument("--listener", type=int, required=True, help="file descriptor of a listening socket")
    parser.add_argument("--to", required=True, help="IP address and port, as ADDRESS:PORT")
    arguments = parser.parse_args()
    listener = socket.socket(fileno=arguments.listener)
    listener.settimeout(0)  # asyncio wants it not to block
    host, _, port = arguments.to.rpartition(":")
    enter(arguments.netns)
    asyncio.run(serve(listener, host, int(port)))


if __name__ == "__main__":
    main()
