"""Pods by name and label: where the API server is, and what it told."""
