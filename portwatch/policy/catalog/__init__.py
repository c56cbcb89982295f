"""Named sets of well-known ports, each with its source."""
