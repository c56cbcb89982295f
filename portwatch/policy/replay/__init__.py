"""What a policy would have said to recorded binds."""
