"""The embedded registry, chart repository and mirrors."""
