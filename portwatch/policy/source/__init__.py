"""Policy files → a checked Policy, every mistake at its place."""
