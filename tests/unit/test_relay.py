"""The relay that tests put before a registry, which later tests must not meet."""

from __future__ import annotations

import socket

import pytest

from tests.docker.registry import Relay


def test_a_relay_passes_on_until_it_is_closed() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        relay = Relay(server.getsockname()[1])
        with socket.create_connection(("127.0.0.1", relay.port)) as client:
            client.sendall(b"through")
            behind, _ = server.accept()
            with behind:
                assert behind.recv(100) == b"through"
        # It fails if its thread is left in accept(), where it would take the connection of another
        # test that gets the same port.
        relay.close()
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", relay.port))
