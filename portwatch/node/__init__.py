"""Who is who on this machine: cgroups, processes, accounts, network namespaces, listeners.

Reads /proc, /sys and the account databases; must not import kernel, policy or agent.
"""
