"""Adds up what the items of a window cost, with prices fetched over HTTP."""

import asyncio
import json
import os
import threading
from collections.abc import AsyncIterable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import aiohttp
from pynumaflow.reducer import Datum, Message, Messages, Metadata, ReduceAsyncServer, Reducer


class Total(Reducer):
    """The server makes one instance per key and window, with the arguments of ``main``."""

    def __init__(self, service: str) -> None:
        self.service = service

    async def handler(
        self, keys: list[str], datums: AsyncIterable[Datum], md: Metadata
    ) -> Messages[Message]:
        """The sum of the window's prices and the number of items without one, as JSON."""
        items = [datum.value.decode("utf-8") async for datum in datums]
        async with aiohttp.ClientSession(self.service) as session:
            # All requests of the window are under way at the same time.
            prices = await asyncio.gather(*(fetch_price(session, item) for item in items))
        result = {"cents": sum(price or 0 for price in prices), "unknown": prices.count(None)}
        return Messages(Message(json.dumps(result).encode(), keys=keys))


async def fetch_price(session: aiohttp.ClientSession, item: str) -> int | None:
    """What ``GET /ITEM`` answers: cents, or ``None`` for an item that the service lacks."""
    async with session.get(f"/{item}") as response:
        if response.status == 404:
            return None
        response.raise_for_status()
        return int(await response.text())


class DemoService(BaseHTTPRequestHandler):
    """Stands in for the price service, on the loopback, where SERVICE_URL is not set."""

    def do_GET(self) -> None:
        price = {"/apple": 35, "/bread": 280, "/milk": 115}.get(self.path)
        self.send_response(404 if price is None else 200)
        self.end_headers()
        self.wfile.write(str(price).encode())


class DemoServer(ThreadingHTTPServer):
    # A large window connects many times at once; 5 connections may wait by default.
    request_queue_size = 1024


def start_demo_service() -> str:
    """The URL of a stand-in that answers from now on, for as long as this process runs."""
    demo = DemoServer(("127.0.0.1", 0), DemoService)
    threading.Thread(target=demo.serve_forever, daemon=True).start()
    return f"http://127.0.0.1:{demo.server_port}"


def main() -> None:
    service = os.environ.get("SERVICE_URL") or start_demo_service()
    # The asynchronous servers handle SIGTERM by themselves.
    ReduceAsyncServer(Total, init_args=(service,)).start()


if __name__ == "__main__":
    main()
