"""Measures proxies side by side. `../run` is the command."""
