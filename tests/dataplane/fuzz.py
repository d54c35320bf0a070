"""Bodies that are nearly chat requests, drawn by a seed: the same ones in every run."""

import json
import random
from collections.abc import Iterator

from tests.dataplane.decisions import SERVED

OTHER = "other-model"  # what no hosted endpoint may be asked for
_NAMES = ("model", "Model", "MODEL", "mode\\u006c", "\\u006dodel", " model", "model\\u0000", "stream", "Stream", "str\\u0065am")
_VALUES = (
    *(
        f'"{SERVED}"',
        f'"{OTHER}"',
        f'"\\u0074{SERVED[1:]}"',
        f'"{SERVED}\\u0000"',
        f'"{SERVED} "',
        f'"{SERVED.title()}"',
        f"'{SERVED}'",
        '""',
    ),
    *("true", "false", "null", "tru", "0", "-1", "1e999", "NaN", "Infinity", "[]", "{}", f'["{SERVED}"]', f'{{"model":"{OTHER}"}}'),
    *('{"include_usage":true}', '{"include_usage":false}', '{"include_usage":', '{"include_usage":true,"include_usage":false}'),
)
_SPLICES = (
    *(b'"', b"\\", b"{", b"}", b"[", b"]", b",", b":", b"\x00", b"\xff", b"\xef\xbb\xbf", b"\xc0\x80", b"\xed\xa0\x80", b"\x1f", b" "),
    *(b'\\"', b"\\\\", b"\\u", b"\\ud800", b"/*", b"*/", b"//", b"\r\n", b'"model":"other-model",', b'"stream":true,', b"}{", b"[" * 300),
)


def two_readings(*, outer: str, inner: str) -> bytes:
    """Return a body that asks for `outer` when read as UTF-16, which many readers of JSON detect, and for `inner` byte by byte."""
    head, tail = f'{{"model":"{outer}","x":"'.encode("utf-16-le"), '"}'.encode("utf-16-le")
    # Byte by byte the text in x ends at its first quote; a comma, and a member follows.
    text = f'",  "model":"{inner}","y":"'.encode()
    return head + text + b" " * (len(text) % 2) + tail


def bodies(seed: int, count: int) -> Iterator[bytes]:
    """Yield this many bodies."""
    draw = random.Random(seed)
    kinds = (_members, _members, _spliced, _spliced, _cut, _nested, _encoded, _twofold, _noise)
    for _ in range(count):
        yield draw.choice(kinds)(draw)


def _request(draw: random.Random) -> bytes:
    body: dict[str, object] = {
        "model": draw.choice((SERVED, SERVED, OTHER)),
        "messages": [{"role": "user", "content": draw.choice(('say "model": {[', "é\u2028\\", "x" * draw.randrange(300)))}],
        "stream": draw.choice((True, False)),
    }
    if draw.random() < 0.3:
        body["stream_options"] = draw.choice(({}, None, {"include_usage": False}, {"x": {"include_usage": 1}}, []))
    members = list(body.items())
    draw.shuffle(members)
    return json.dumps(dict(members), ensure_ascii=draw.random() < 0.5, indent=draw.choice((None, None, 1))).encode()


def _members(draw: random.Random) -> bytes:
    """Return an object of members that say the same thing twice, in other ways or of the wrong kind."""
    names = ("model", *(draw.choice(_NAMES) for _ in range(draw.randrange(4))), draw.choice(("stream_options", "messages", "x")))
    members = [f'"{name}"{draw.choice(("", " "))}:{draw.choice(_VALUES)}' for name in names]
    draw.shuffle(members)
    return ("{" + draw.choice((",", ", ", ",,", "\n,")).join(members) + draw.choice(("}", "}", "}", ",}", "}}", "", "} "))).encode()


def _spliced(draw: random.Random) -> bytes:
    """Return a request with bytes put in, taken out or changed."""
    body = bytearray(_request(draw))
    for _ in range(draw.randrange(1, 5)):
        place = draw.randrange(len(body) + 1)
        body[place : place + draw.choice((0, 0, 1, 3))] = draw.choice(_SPLICES)
    return bytes(body)


def _cut(draw: random.Random) -> bytes:
    body = _request(draw)
    return body[: draw.randrange(len(body))] + draw.choice((b"", b"", _request(draw)))


def _nested(draw: random.Random) -> bytes:
    depth = draw.randrange(1, 2000)
    inner = draw.choice(("[", '{"model":', '{"a":')) * depth
    end = draw.choice(("", "]" * depth, "}" * depth, f'"{OTHER}"' + "}" * depth))
    return f'{{"model":"{draw.choice((SERVED, OTHER))}","x":{inner}{end}}}'.encode()


def _encoded(draw: random.Random) -> bytes:
    text = _request(draw).decode()
    return text.encode(draw.choice(("utf-16", "utf-16-le", "utf-32", "utf-8-sig", "utf-7")))


def _twofold(draw: random.Random) -> bytes:
    written = draw.choice((SERVED, f"\\u{ord(SERVED[0]):04x}{SERVED[1:]}", OTHER))
    return two_readings(outer=draw.choice((SERVED, OTHER)), inner=written)


def _noise(draw: random.Random) -> bytes:
    return draw.randbytes(draw.randrange(200))
