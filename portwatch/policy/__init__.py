"""The policy language: read, check, decide, compile. Pure: no kernel, no root, only files read."""
