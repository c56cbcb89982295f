"""What a policy that is right may still get wrong, found from its tables."""
