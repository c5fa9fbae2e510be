"""Bytes moving: one module for each outside world."""
