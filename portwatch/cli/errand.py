"""`errand`: one errand for an agent that may not enter network namespaces; a unit's business."""

from __future__ import annotations

import os

import click


@click.command(hidden=True)
def errand() -> None:
    """Do what is asked on the connection that is stdin, answer there, and end.

    Started by portwatch-errand@.service for each connection; knows two errands, and takes no
    arguments.
    """
    from portwatch.agent.survey import report
    from portwatch.node import port_holders
    from portwatch.node.errand import module_command
    from portwatch.node.errand_socket import take_errand

    module = take_errand(0, (report.CHILD, port_holders.CHILD))
    command = module_command(module, [])
    os.execv(command[0], command)  # noqa: S606 (no shell: that is the point)
