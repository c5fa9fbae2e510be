"""The disconnected side: open, verify, load, serve, report."""
