"""The commands: the only place where things are printed and exit codes chosen."""
