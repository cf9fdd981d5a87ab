"""Spreads CPU-heavy work over processes, behind the one socket that Numaflow dials."""

import multiprocessing
import os
import signal
from concurrent.futures import Executor, ProcessPoolExecutor

from pynumaflow.mapper import Datum, Mapper, MapServer, Message, Messages

WORKERS = min(4, os.cpu_count() or 1)


def largest_prime_factor(number: int) -> int:
    """The largest prime that divides ``number``, which is 2 or more."""
    divisor = 2
    while divisor * divisor <= number:
        if number % divisor:
            divisor += 1
        else:
            number //= divisor
    return number


class Factorize(Mapper):
    """Hands the work to ``pool``; the threads of the server only wait for the answers."""

    def __init__(self, pool: Executor) -> None:
        self.pool = pool

    def handler(self, keys: list[str], datum: Datum) -> Messages[Message]:
        text = datum.value.decode("utf-8", "replace")
        if not text.isdecimal() or int(text) < 2:
            return Messages(Message.to_drop())
        factor = self.pool.submit(largest_prime_factor, int(text)).result()
        return Messages(Message(str(factor).encode(), keys=keys))


def main() -> None:
    with ProcessPoolExecutor(
        WORKERS,
        # "spawn", since a fork of a process that runs gRPC can hang.
        mp_context=multiprocessing.get_context("spawn"),
        # The signal reaches every process of the container; the workers finish their work.
        initializer=signal.signal,
        initargs=(signal.SIGTERM, signal.SIG_IGN),
    ) as pool:
        list(pool.map(largest_prime_factor, [2] * WORKERS))  # all workers up before the server
        server = MapServer(Factorize(pool))
        # A pod ends with SIGTERM: finish the messages in flight, then exit with 0.
        signal.signal(signal.SIGTERM, lambda *_: server.servicer.shutdown_event.set())
        server.start()


if __name__ == "__main__":
    main()
