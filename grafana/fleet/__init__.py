"""The rows of the dashboard for a fleet."""
