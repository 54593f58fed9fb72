"""The command line: arguments in, calls of what a notebook can call, lines and JSON out."""
