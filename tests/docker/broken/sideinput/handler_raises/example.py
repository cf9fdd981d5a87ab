"""Cannot find its value."""

from pynumaflow.sideinput import Response, SideInputServer


def retrieve() -> Response:
    return {}["the value"]


if __name__ == "__main__":
    SideInputServer(retrieve).start()
