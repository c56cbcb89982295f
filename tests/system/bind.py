"""Binds TCP ports; exit status 0, or the errno of the first that is refused."""

import socket
import sys

for port in sys.argv[1:]:
    try:
        socket.socket().bind(("127.0.0.1", int(port)))
    except OSError as err:
        sys.exit(err.errno)
