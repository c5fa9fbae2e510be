"""Bytes at rest: bundle files, OCI layouts, the content-addressed cache."""
