"""What address translation does with ports: the kernel's NAT rules, of nf_tables and of the older
ip_tables, read and never changed."""
