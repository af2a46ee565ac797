"""A loopback server whose only cost is writing: every answer is the same few bytes, made once.

    python benchmarks/canned.py CHUNKS TOKENS_PER_SECOND

prints its base URL and serves Chat Completions until it is killed. Above 0, TOKENS_PER_SECOND paces each stream.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import sys

_HEAD = (
    b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n"
    b"x-request-id: canned\r\ntransfer-encoding: chunked\r\n\r\n"
)
_WORDS = ("The ", "same ", "few ", "words ", "again. ")


def _event(fields: dict[str, object]) -> bytes:
    head = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1, "model": "canned"}
    data = b"data: " + json.dumps(head | fields).encode() + b"\n\n"
    return b"%x\r\n%s\r\n" % (len(data), data)


def _answer(chunks: int) -> list[bytes]:
    """The pieces of a stream of `chunks` deltas of text, as they go over the wire."""
    choice = {"index": 0, "finish_reason": None}
    texts = [
        _event({"choices": [choice | {"delta": {"content": _WORDS[n % len(_WORDS)]}}]}) for n in range(chunks)
    ]
    stop = _event({"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]})
    usage = _event(
        {"choices": [], "usage": {"prompt_tokens": 300, "completion_tokens": chunks, "total_tokens": 300}}
    )
    return [_HEAD, *texts, stop + usage + b"e\r\ndata: [DONE]\n\n\r\n0\r\n\r\n"]


async def _serve(chunks: int, rate: float) -> None:
    pieces = _answer(chunks)
    whole = b"".join(pieces)

    async def client(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                length = next(
                    int(line.split(b":")[1])
                    for line in head.lower().split(b"\r\n")
                    if line.startswith(b"content-length:")
                )
                await reader.readexactly(length)
                if not rate:
                    writer.write(whole)
                else:
                    began = asyncio.get_running_loop().time()
                    for n, piece in enumerate(pieces):
                        wait = began + n / rate - asyncio.get_running_loop().time()
                        if wait > 0:
                            await asyncio.sleep(wait)
                        writer.write(piece)
                await writer.drain()
        writer.close()

    server = await asyncio.start_server(client, "127.0.0.1", 0, backlog=1024)
    print(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1", flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(_serve(int(sys.argv[1]), float(sys.argv[2])))
