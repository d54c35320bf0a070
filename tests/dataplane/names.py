"""A name server for one headless Service: an address for each ready replica, NXDOMAIN when there is none, as CoreDNS answers."""

import asyncio
import struct
from types import TracebackType
from typing import Self

from spillway.render.envoy.config import Address

_NXDOMAIN, _A, _IN = 3, 1, 1


class Names(asyncio.DatagramProtocol):
    """Answers every name with `addresses`."""

    def __init__(self) -> None:
        self.addresses: list[str] = []
        self.asked: set[str] = set()
        self._transport: asyncio.DatagramTransport | None = None

    async def __aenter__(self) -> Self:
        loop = asyncio.get_running_loop()
        self._transport, _ = await loop.create_datagram_endpoint(lambda: self, local_addr=("127.0.0.1", 0))
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Answer no more."""
        assert self._transport
        self._transport.close()

    @property
    def address(self) -> Address:
        """Where to ask."""
        assert self._transport
        host, port = self._transport.get_extra_info("sockname")
        return Address(host=host, port=port)

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        """Answer one query."""
        assert self._transport
        identifier = data[:2]
        end = data.index(b"\0", 12) + 5
        question = data[12:end]
        self.asked.add(_name(question))
        (kind,) = struct.unpack("!H", question[-4:-2])
        found = self.addresses if kind == _A else []
        code = 0 if self.addresses else _NXDOMAIN
        header = identifier + struct.pack("!HHHHH", 0x8180 | code, 1, len(found), 0, 0)
        answers = b"".join(
            b"\xc0\x0c" + struct.pack("!HHIH", _A, _IN, 1, 4) + bytes(int(part) for part in address.split(".")) for address in found
        )
        self._transport.sendto(header + question + answers, addr)


def _name(question: bytes) -> str:
    labels, place = [], 0
    while question[place]:
        length = question[place]
        labels.append(question[place + 1 : place + 1 + length].decode())
        place += 1 + length
    return ".".join(labels)
