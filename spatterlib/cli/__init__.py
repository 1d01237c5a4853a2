"""The command line: a module per command or family of commands, and the options that they share."""
