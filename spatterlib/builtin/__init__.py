"""The built-in plugins, one a module; they use the same hooks as everybody else's."""
