"""What runs first inside the zip application: the entry, and native code unpacked to a private cache. Stdlib only."""
