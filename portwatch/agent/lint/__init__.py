"""What a policy gets wrong on this machine."""
