"""airbundle: one signed file that is the offline installer of container images and Helm charts."""

__version__ = "0.1.0"
