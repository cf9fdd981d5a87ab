"""The SDK's own server for several processes: a socket for each, and none that is dialled."""

from pynumaflow.sourcetransformer import (
    Datum,
    Message,
    Messages,
    SourceTransformMultiProcServer,
)


def forward(keys: list[str], datum: Datum) -> Messages[Message]:
    return Messages(Message(datum.value, datum.event_time, keys=keys))


if __name__ == "__main__":
    SourceTransformMultiProcServer(forward, server_count=2).start()
