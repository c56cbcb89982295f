"""A policy's own tests."""
