"""The long-lived process: swaps policies, follows cgroups, tells events, serves metrics.

May import kernel, node and policy; must not import cli, and never bcc.
"""
