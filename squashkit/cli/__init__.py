"""The command line: one module a command. It parses, calls and renders; it decides nothing."""
