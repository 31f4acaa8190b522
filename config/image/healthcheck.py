#!/usr/bin/env python
"""The image's HEALTHCHECK: does /livez answer on the configured port? Exit code 0 or 1.

It reads the settings as `askonce serve` does, from the file and the environment. Flags of a command line it cannot see:
in a container give the port as ASKONCE_SERVER__PORT.
"""

from __future__ import annotations

import http.client
import os
import sys
from typing import Final

from proxy.settings import load

TIMEOUT_S: Final = 5.0
"""Half of the HEALTHCHECK's own, of which starting Python takes a part."""

HERE: Final = {"0.0.0.0": "127.0.0.1", "::": "::1"}
"""Who listens everywhere is reached at the loopback address of the same family."""


def main() -> int:
    server = load(None, {}, os.environ).settings.server
    connection = http.client.HTTPConnection(HERE.get(server.host, server.host), server.port, timeout=TIMEOUT_S)
    try:
        connection.request("GET", "/livez")
        status = connection.getresponse().status
    except OSError as error:
        sys.stdout.write(f"port {server.port}: {error}\n")
        return 1
    sys.stdout.write(f"port {server.port}: {status}\n")
    return int(status != http.HTTPStatus.OK)


if __name__ == "__main__":
    sys.exit(main())
