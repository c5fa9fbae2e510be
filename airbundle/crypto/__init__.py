"""Keys, signatures and the internal CA: bytes in, bytes out."""
