"""Everything that speaks bpf(): compiling and attaching, the maps, the swap of policies.

Only `loader` imports bcc; only `libbpf` loads libbpf. Must not import policy, node or agent.
"""
