"""The metrics: read from the kernel at every scrape."""
