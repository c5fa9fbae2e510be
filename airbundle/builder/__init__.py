"""The connected side: lock, build, sign, pack."""
