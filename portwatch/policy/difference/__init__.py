"""What changes between two policies, by meaning."""
