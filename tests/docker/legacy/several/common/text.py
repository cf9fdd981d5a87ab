def shout(value: bytes) -> bytes:
    return value.decode().upper().encode()
