"""Who binds what, read from the pins again and again: what `top` shows."""
