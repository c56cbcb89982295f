"""A live screen: keys in, changed lines out, and the terminal as it was at the end."""
