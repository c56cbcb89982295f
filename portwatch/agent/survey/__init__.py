"""What listens now, looked at by a child, and what the policy says of it."""
