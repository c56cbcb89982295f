"""What is told: from the kernel's records to JSON lines, and to whom they go."""
