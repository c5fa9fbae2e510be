"""What a system will run, told from its manifests: rules without disk or network (docs/scan.md)."""
