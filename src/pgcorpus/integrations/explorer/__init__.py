"""The Explorer: a read-only web page over the corpus, mounted in an app behind the app's own access rule."""

from pgcorpus.integrations.explorer.access import PageAccess, TokenAccess
from pgcorpus.integrations.explorer.core import Explorer
from pgcorpus.integrations.explorer.http import PageRequest, PageResponse

__all__ = ["Explorer", "PageAccess", "PageRequest", "PageResponse", "TokenAccess"]
