"""Names at the site. They live in `bundle.naming`, because the server uses the same ones."""

from airbundle.bundle.naming import SERVED_ONLY, SiteName, check_prefix, site_name

__all__ = ["SERVED_ONLY", "SiteName", "check_prefix", "site_name"]
