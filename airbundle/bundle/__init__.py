"""The bundle format and its rules, pure: no disk, no network."""
