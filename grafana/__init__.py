"""The dashboards as code: `make grafana` writes grafana/dashboards/*.json from it.

Imports nothing of portwatch; knows its metrics by name, which the tests hold against a real page.
"""
