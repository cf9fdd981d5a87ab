"""Spreads CPU-heavy work over processes, behind the one socket that Numaflow dials."""

import multiprocessing
import os
import signal
from concurrent.futures import Executor, ProcessPoolExecutor
from multiprocessing.synchronize import Barrier

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


def start_worker(all_up: Barrier) -> None:
    """Runs first in each worker process."""
    # The signal reaches every process of the container; the workers finish their work.
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    all_up.wait()


def main() -> None:
    # "spawn", since a fork of a process that runs gRPC can hang.
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(
        WORKERS, context, initializer=start_worker, initargs=(context.Barrier(WORKERS),)
    ) as pool:
        # No worker goes past the barrier alone, so all are up before the server is.
        list(pool.map(largest_prime_factor, [2] * WORKERS))
        server = MapServer(Factorize(pool))
        # A pod ends with SIGTERM: finish the messages in flight, then exit with 0.
        signal.signal(signal.SIGTERM, lambda *_: server.servicer.shutdown_event.set())
        server.start()


if __name__ == "__main__":
    main()
