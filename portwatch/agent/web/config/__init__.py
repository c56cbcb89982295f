"""The file of `--web.config.file`: TLS, users and headers, as Prometheus exporters have it."""
