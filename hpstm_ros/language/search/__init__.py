"""Search for moments in recordings by text or by example, with cached embeddings of windows."""

from hpstm_ros.language.search.index import Index, open_index
from hpstm_ros.language.search.ranking import Hit, search

__all__ = ["Hit", "Index", "open_index", "search"]
