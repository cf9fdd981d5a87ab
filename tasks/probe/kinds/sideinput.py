"""sideinput: one call gives one value, which is broadcast or not."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from typing import Any

from google.protobuf.empty_pb2 import Empty
from pynumaflow.proto.sideinput import sideinput_pb2  # type: ignore[import-untyped]

from .base import Service, Spec


class SideInput(Service):
    """Each case is one retrieval."""

    ready_response = sideinput_pb2.ReadyResponse
    batched = False

    def play(self, case: Spec) -> dict[str, Any]:
        answer = self.client.call(
            "RetrieveSideInput", Empty(), sideinput_pb2.SideInputResponse, self.seconds
        )
        value = base64.b64encode(answer.value).decode()
        return {"broadcast": not answer.no_broadcast, "value": value}

    def batch(self, messages: Sequence[Spec], size: int) -> Spec:
        return {}

    def pulse(self, case: Spec) -> None:
        self.play(case)
