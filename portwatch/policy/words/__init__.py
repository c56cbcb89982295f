"""The words of the language: ports, addresses, globs, and what a cgroup path says."""
